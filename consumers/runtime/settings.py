"""Defines the settings that every consumer shares."""

from __future__ import annotations

from typing import Any, Literal

from aiokafka.helpers import create_ssl_context
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512
from pydantic import Field

from consumers.runtime.policy import HandlingPolicy
from tenancy.platform.settings import DAY_SECONDS, PlatformSettings

_SASL: dict[str, Any] = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}


class ConsumerSettings(PlatformSettings):
    """A consumer's own settings on top of the platform's."""

    health_host: str = "127.0.0.1"
    health_port: int = Field(default=8080, ge=1, le=65535)
    reconcile_seconds: float = Field(
        default=3.0, gt=0.0, le=DAY_SECONDS, description="from one look at unfinished work to the next"
    )

    replica_answer_seconds: float = Field(
        default=300.0,
        gt=0,
        le=DAY_SECONDS,
        description="a live replica that has not acknowledged by then is cut off its lease",
    )

    unsigned_events: Literal["counted", "refused"] = Field(
        default="refused",
        description="counted while publishers get their keys; of services and operators, and of others as the "
        "tenant's policy says",
    )

    kafka_session_timeout_ms: int = Field(
        default=45_000,
        ge=1_000,
        le=3_600_000,
        description="after this long without a heartbeat a dead consumer's partitions move",
    )

    def handling_policy(self) -> HandlingPolicy:
        """The bounds of handling that these settings ask for."""
        return HandlingPolicy(
            deadline_seconds=self.handler_deadline_seconds, session_timeout_ms=self.kafka_session_timeout_ms
        )

    def faststream_security(self) -> BaseSecurity | None:
        """The same security as :meth:`kafka_client`, in FastStream's words."""
        if self.kafka_security_protocol == "PLAINTEXT":
            return None
        use_ssl = self.kafka_security_protocol.endswith("SSL")
        context = create_ssl_context(cafile=self.kafka_ssl_ca_file) if use_ssl else None
        if not self.kafka_security_protocol.startswith("SASL"):
            return BaseSecurity(ssl_context=context, use_ssl=use_ssl)
        password = self.kafka_sasl_password.get_secret_value() if self.kafka_sasl_password else ""
        made: BaseSecurity = _SASL[self.kafka_sasl_mechanism](
            username=self.kafka_sasl_username or "", password=password, ssl_context=context, use_ssl=use_ssl
        )
        return made
