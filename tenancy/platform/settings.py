"""Defines the shared settings, read from ``SANO_*``. Each service's own settings module extends them."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    Field,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.base.addresses import Brokers, BucketName, HttpUrl, S3Endpoint
from schemas.bus.retention import MAX_DAYS, Retention
from schemas.bus.topics import LIVE_TOPICS
from tenancy.errors import Refused

CLOCK_SKEW_SECONDS = 5.0
REQUEST_ATTEMPTS = 3  # of one request to the object store or to KMS
DAY_SECONDS = 86_400
SETTINGS_REMEDY = "docs/settings.md describes every setting"

FROM_ENVIRONMENT = SettingsConfigDict(
    env_prefix="SANO_",
    env_ignore_empty=True,
    extra="ignore",
    frozen=True,
    allow_inf_nan=False,
    hide_input_in_errors=True,  # which is all settings, the secret ones too
)

KeyReference = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
"""Where a private key is: the path of a PEM file, or ``kms:`` and the id, the alias or the ARN of a key of AWS KMS."""

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


class BusSettings(BaseSettings):
    """Where the bus is, as whom to connect to it, and with which key to sign what is published."""

    model_config = FROM_ENVIRONMENT

    kafka_bootstrap_servers: Brokers = Field(description="host:port, comma-separated")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_ca_file: Path | None = None
    topic_retention: str | None = Field(
        default=None, description="topic=days pairs, comma-separated; days may be unlimited; topics not named: 7 days"
    )
    trust_file: Path | None = Field(default=None, description="which key verifies what, signed by the root key")
    trust_root_file: Path | None = Field(default=None, description="public half of the root key, PEM")
    trust_seconds: float = Field(
        default=10.0, gt=0.0, le=DAY_SECONDS, description="pause between two looks whether the trust file changed"
    )
    event_key: KeyReference | None = Field(default=None, description="signs events: a PEM file, or kms: and a key's id")

    @model_validator(mode="after")
    def _login_is_whole(self) -> Self:
        has_login = self.kafka_sasl_username and self.kafka_sasl_password
        if self.kafka_security_protocol.startswith("SASL") and not has_login:
            names = "SANO_KAFKA_SASL_USERNAME and SANO_KAFKA_SASL_PASSWORD"
            raise PydanticCustomError("half_a_pair", f"a SASL_… protocol needs both {names}")
        return self

    @field_validator("topic_retention")
    @classmethod
    def _can_be_met(cls, given: str | None) -> str | None:
        _retention(given)
        return given

    @property
    def retention(self) -> Retention:
        """Days, or ``unlimited``, by topic, where this installation wishes other than the contract's seven days."""
        return _retention(self.topic_retention)

    @property
    def remote_key_seconds(self) -> float:
        """The timeout of a signature by a key in KMS."""
        return 10.0

    def kafka_client(self) -> dict[str, Any]:
        """Connection arguments for every aiokafka client. Raises :class:`Refused`."""
        client: dict[str, Any] = {
            "bootstrap_servers": self.kafka_bootstrap_servers,
            "security_protocol": self.kafka_security_protocol,
        }
        if self.kafka_security_protocol.startswith("SASL"):
            client["sasl_mechanism"] = self.kafka_sasl_mechanism
            client["sasl_plain_username"] = self.kafka_sasl_username
            client["sasl_plain_password"] = (
                self.kafka_sasl_password.get_secret_value() if self.kafka_sasl_password else None
            )
        if self.kafka_security_protocol.endswith("SSL"):
            try:
                client["ssl_context"] = ssl.create_default_context(cafile=self.kafka_ssl_ca_file)
            except OSError as error:  # SSLError is one
                why = f"refused: SANO_KAFKA_SSL_CA_FILE is no file of certificates ({type(error).__name__})"
                raise Refused("bad-settings", f"{why}; {SETTINGS_REMEDY}") from None
        return client


class PlatformSettings(BusSettings):
    """Where the bus, the object store and the keys are."""

    s3_endpoint_url: S3Endpoint | None = Field(default=None, description="absent: AWS")
    s3_bucket: BucketName
    # Not the plain AWS_*: those stay with boto3's chain, which also knows session tokens, profiles and roles.
    aws_access_key_id: str | None = Field(default=None, description="SANO_AWS_…; absent: boto3's own chain")
    aws_secret_access_key: SecretStr | None = Field(default=None, description="used only together with the id")

    s3_timeout_seconds: float = Field(
        default=10.0, gt=0.0, le=3600.0, description="to connect, and to answer, at each attempt; of KMS too"
    )

    kms_key_id: str | None = Field(default=None, description="wraps the tenants' data keys in production")
    master_key_file: Path | None = Field(default=None, description="wraps the tenants' data keys locally")

    handler_deadline_seconds: float = Field(
        default=60.0,
        gt=0.0,
        le=3600.0,
        description="no handling of an event, and no step of a driver or an import, writes longer",
    )
    lease_seconds: float = Field(
        default=30.0, gt=0.0, le=DAY_SECONDS, description="a training lease that is not renewed ends"
    )
    replica_lease_seconds: float = Field(
        default=30.0, gt=0.0, le=DAY_SECONDS, description="a replica that is not heard of ends"
    )

    work_dir: Path = Field(default=Path(".sano/work"), description="scratch; nothing is written elsewhere")
    otlp_endpoint: HttpUrl | None = Field(default=None, description="OTLP/HTTP collector; absent: no export")

    @model_validator(mode="after")
    def _pairs_are_whole(self) -> Self:
        if bool(self.aws_access_key_id) != bool(self.aws_secret_access_key):
            names = "SANO_AWS_ACCESS_KEY_ID and SANO_AWS_SECRET_ACCESS_KEY"
            raise PydanticCustomError("half_a_pair", f"{names} go together: set both or none")
        return self

    @property
    def remote_key_seconds(self) -> float:
        return self.s3_timeout_seconds

    @property
    def quiesce_seconds(self) -> float:
        """After a fence and this long, no writer that was alive at the fence can still write.

        Who writes under a tenant's prefix is cancelled at the handler deadline, counted from a look that found the
        tenant active (handlers, the withdrawal driver, the training runner, a worker that takes a lease or moves
        published files, an import), or at the end of its lease (a worker in between). The operator's other commands
        write nothing there: they swap the state, or publish.
        """
        return max(self.handler_deadline_seconds, self.lease_seconds) + self.late_write_seconds

    @property
    def late_write_seconds(self) -> float:
        """How long after its lease or deadline a writer's last write can still arrive, by another machine's clock."""
        return self.store_write_seconds + CLOCK_SKEW_SECONDS

    @property
    def store_write_seconds(self) -> float:
        """How long one write can go on in its thread after the handler that began it was cancelled: each attempt may
        wait for a connection and for an answer, one of them before boto3's (``tenancy.storage.direct_s3``, which closes
        its connection when it is cancelled), and boto3's standard mode backs off at most 20 s over three attempts.
        A write that still waits for a thread when it is cancelled is never begun (``tenancy.platform.threads``).
        """
        return (1 + REQUEST_ATTEMPTS) * 2 * self.s3_timeout_seconds + min(20.0, 4 * self.s3_timeout_seconds)


def _retention(given: str | None) -> Retention:
    """Raises :class:`ValueError`."""
    pairs = [pair.partition("=") for pair in given.split(",")] if given else []
    try:
        return TypeAdapter(Retention).validate_python({name.strip(): days.strip() for name, _, days in pairs})
    except ValidationError:
        allowed = f"topic=days pairs, comma-separated, with 1 to {MAX_DAYS} days or unlimited"
        topics = f"topics of the contract other than dead letters: {', '.join(LIVE_TOPICS)}"
        raise PydanticCustomError("no_retention", f"must be {allowed}, for {topics}") from None


def loaded(
    kind: type[SettingsT], remedy: str = SETTINGS_REMEDY, given: Mapping[str, Any] = MappingProxyType({})
) -> SettingsT:
    """Raises :class:`Refused`, naming the settings that are missing or wrong but never their values. What is ``given``
    goes before the environment.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        raise Refused("bad-settings", f"refused: {_what_is_wrong(kind, error)}; {remedy}") from None


def loaded_or_exit(kind: type[SettingsT]) -> SettingsT:
    """For the first line of a process."""
    with refusal_exits():
        return loaded(kind)


@contextmanager
def refusal_exits() -> Iterator[None]:
    """What is refused in here, before a process begins its work, is one line on stderr, and exit status 2."""
    try:
        yield
    except Refused as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        raise SystemExit(2) from None


def _what_is_wrong(kind: type[BaseSettings], error: ValidationError) -> str:
    unset, wrong = [], []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        name = "".join(f"{kind.model_config['env_prefix']}{field}".upper() for field in item["loc"][:1])
        if item["type"] == "missing":
            unset.append(name)
        elif item["type"] == "value_error":  # raised by a function, such as int(), whose words may quote the value
            wrong.append(f"{name} is not of the expected shape")
        else:
            said = item["msg"]
            wrong.append(f"{name}: {said[:1].lower()}{said[1:]}" if name else said)
    return ", ".join([f"{' and '.join(sorted(unset))} unset"] * bool(unset) + sorted(wrong))
