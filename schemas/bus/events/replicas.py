"""Defines the events of serving replicas: registrations and signed acknowledgements."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field

from schemas.base.identifiers import SHA256_PATTERN, OpaqueId, Sha256Hex
from schemas.bus.events.base import REPLICAS, EventData


class ReplicaRegistered(EventData):
    """A serving replica started. Its subject is the replica, not a tenant."""

    type = "sano.replica.registered"
    topic = REPLICAS
    identified_by = ("replica_id",)

    replica_id: OpaqueId
    base_model_digest: Sha256Hex


class ReplicaEvicted(EventData):
    """A replica signs that it holds nothing of the tenant, or no longer holds this adapter."""

    type = "sano.replica.evicted"
    topic = REPLICAS
    identified_by = ("replica_id", "cause_id")

    replica_id: OpaqueId
    cause_id: OpaqueId = Field(description="purge id, or digest of the retired adapter")
    receipt: dict[str, Any] = Field(description="DSSE envelope around an in-toto Statement, signed with Ed25519")

    @property
    def names_an_adapter(self) -> bool:
        """Whether the cause may be a retirement. A purge whose id has the shape of a digest passes too."""
        return re.fullmatch(SHA256_PATTERN, self.cause_id) is not None
