"""Defines operators' settings: ``SANO_*`` first, then ``.sano/stack.json`` of the local stack in this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from schemas.base.addresses import HttpUrl
from schemas.base.identifiers import OpaqueId
from schemas.base.json_text import parse_json
from schemas.evidence.audit import CHECKPOINT_SECONDS
from tenancy.embedding.settings import EmbedderSettings
from tenancy.errors import Refused
from tenancy.knowledge.database.settings import DatabaseSettings
from tenancy.platform.given_files import read_given
from tenancy.platform.settings import (
    DAY_SECONDS,
    FROM_ENVIRONMENT,
    BusSettings,
    KeyReference,
    PlatformSettings,
    loaded,
)

STACK_FILE = Path(".sano") / "stack.json"

_STORE = ("s3_endpoint_url", "s3_bucket", "aws_access_key_id", "aws_secret_access_key")


class StackFileSource(PydanticBaseSettingsSource):
    """The fields of the local stack's file, for what the environment leaves unset.

    The stack's object store is one thing: where the environment names another endpoint or bucket, nothing of the
    file's store is used, so that a local endpoint or key never meets somebody's real bucket.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        stack = _read_stack()
        if any(self.current_state.get(name, stack.get(name)) != stack.get(name) for name in _STORE[:2]):
            stack = {name: value for name, value in stack.items() if name not in _STORE}
        return {name: stack[name] for name in self.settings_cls.model_fields if stack.get(name) is not None}


def _read_stack() -> dict[str, Any]:
    try:
        stack = parse_json(STACK_FILE.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        stack = None
    if not isinstance(stack, dict):
        raise Refused("bad-stack-file", f"refused: {STACK_FILE} is not a stack file; run `sano down`, then `sano up`")
    return stack


class _StackSettings(BaseSettings):
    """Reads the environment, then the stack file."""

    model_config = FROM_ENVIRONMENT

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *_: Any, **sources: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return sources["init_settings"], sources["env_settings"], StackFileSource(settings_cls)


class ImportSettings(BusSettings, _StackSettings):
    """What a hospital's side needs to propose files: the bus and a key of its own, no bucket and no master key."""

    source_key_file: Path | None = Field(default=None, description="32 bytes in base64: a source's ids and salts")
    source_dates: Literal["removed", "shifted"] = "removed"


class OperatorSettings(PlatformSettings, EmbedderSettings, DatabaseSettings, ImportSettings):
    """What the operators' commands need beyond the platform."""

    token_key: KeyReference | None = Field(
        default=None, description="signs API tokens: a PEM file, or kms: and a key's id"
    )
    trust_root_key: KeyReference | None = Field(
        default=None, description="the root key, which signs the trust file: a PEM file, or kms: and a key's id"
    )
    inference_url: HttpUrl | None = Field(default=None, description="base URL of the OpenAI-compatible API")
    inference_health_url: HttpUrl | None = Field(default=None, description="base URL of a replica's health routes")
    operator_id: OpaqueId = Field(default="operator", description="who is named as having asked, by a command")
    kafka_principal_prefix: str = Field(
        default="User:sano-", pattern=r"^[A-Za-z]+:[^*]*$", description="of Kafka's names of who is what on the bus"
    )
    kafka_principals_file: Path | None = Field(default=None, description="JSON: Kafka's names where they differ")
    review_url: HttpUrl | None = Field(default=None, description="the review page's address, as browsers see it")
    price_file: Path | None = Field(default=None, description="YAML: what `sano cost` prices by")
    base_model: str | None = Field(default=None, description="directory, or hub id, on which `sano reproduce` trains")


class InstallationSettings(OperatorSettings):
    """Another installation, described by a file like ``.sano/stack.json`` alone: nothing of this one may get in."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *_: Any, **sources: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (sources["init_settings"],)


class VerificationSettings(_StackSettings):
    """What checking a signature needs: public keys and nothing that runs; for an audit log, when the ledger signs."""

    trust_file: Path | None = Field(default=None, description="which key verifies what, signed by the root key")
    trust_root_file: Path | None = Field(default=None, description="public half of the root key, PEM")
    audit_checkpoint_seconds: float = Field(
        default=CHECKPOINT_SECONDS, gt=0.0, le=DAY_SECONDS, description="as the ledger's"
    )


_REMEDY = f"run `sano up` here, which writes {STACK_FILE}, or set them"


def operator_settings() -> OperatorSettings:
    """Raises :class:`Refused`, naming the settings that are missing or wrong but never their values."""
    return loaded(OperatorSettings, _REMEDY)


def import_settings() -> ImportSettings:
    """Raises as :func:`operator_settings`."""
    return loaded(ImportSettings, _REMEDY)


def is_local_bus(settings: OperatorSettings) -> bool:
    """Whether the bus is the one that `sano up` started for this folder, on this machine."""
    servers = settings.kafka_bootstrap_servers
    is_of_the_stack = servers == _read_stack().get("kafka_bootstrap_servers")
    return is_of_the_stack and all(server.startswith("127.0.0.1:") for server in servers.split(","))


def installation_settings(path: Path) -> InstallationSettings:
    """The installation that a file describes. Raises :class:`Refused`, quoting nothing of the file."""
    body = read_given(path, "bad-settings", "")
    try:
        return InstallationSettings(**parse_json(body))
    except (ValidationError, ValueError, TypeError):
        why = f"refused: {path} describes no installation; it has the fields of {STACK_FILE}"
        raise Refused("bad-settings", why) from None
