"""Defines the events of an adapter's life: ready, activated, rolled back, retired."""

from __future__ import annotations

from pydantic import Field

from schemas.base.identifiers import OpaqueId, ReasonCode, Sha256Hex
from schemas.base.integers import Ordinal
from schemas.bus.events.base import ADAPTERS, EventData


class AdapterReady(EventData):
    """The adapter's files are stored, sealed, under ``adapters/<digest>/`` with a signed manifest."""

    type = "sano.adapter.ready"
    topic = ADAPTERS
    identified_by = ("adapter_digest",)

    adapter_digest: Sha256Hex
    run_id: OpaqueId
    base_model_digest: Sha256Hex
    size_bytes: Ordinal


class AdapterActivated(EventData):
    """This adapter answers the tenant's ``active`` requests, as its ``activation``-th change of adapter. With
    ``canary_percent`` it answers so many in a hundred conversations, and ``previous_digest`` the others.
    """

    type = "sano.adapter.activated"
    topic = ADAPTERS
    identified_by = ("adapter_digest", "activation")

    adapter_digest: Sha256Hex
    previous_digest: Sha256Hex | None
    activation: Ordinal
    requested_by: OpaqueId | None = Field(default=None, description="operator id; absent if automatic")
    canary_percent: int | None = Field(
        default=None, ge=1, le=99, description="share of the conversations, in percent; absent: all of them"
    )
    reason_code: ReasonCode | None = Field(
        default=None, description="why the comparison with a canary decided so; absent if it did not"
    )


class AdapterRolledBack(EventData):
    """The tenant returned to an earlier adapter, or to the base model if ``adapter_digest`` is absent, because an
    operator asked for it or the active adapter was retired. Or it ended a canary, which ``previous_digest`` names, and
    ``adapter_digest`` answers everything again.
    """

    type = "sano.adapter.rolledback"
    topic = ADAPTERS
    identified_by = ("previous_digest", "activation")

    adapter_digest: Sha256Hex | None
    previous_digest: Sha256Hex
    activation: Ordinal
    requested_by: OpaqueId | None = Field(default=None, description="operator id; absent if automatic")
    reason_code: ReasonCode | None = Field(
        default=None, description="why the comparison with a canary decided so; absent if it did not"
    )


class AdapterRetired(EventData):
    """The adapter is no longer served. Replicas evict it and acknowledge."""

    type = "sano.adapter.retired"
    topic = ADAPTERS
    identified_by = ("adapter_digest",)

    adapter_digest: Sha256Hex
    reason_code: ReasonCode
