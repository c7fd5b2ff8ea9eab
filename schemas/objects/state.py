"""Defines ``registry/<tenant>/state.json``, the one object that linearizes a tenant's history.

It holds ids and digests only, and survives a purge, emptied. An event that a swap owes to the bus is written into
``outbox`` in the same swap; the same process, another one or a reconciler publishes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, PurgeId, ReasonCode, Sha256Hex, TenantName, Traceparent
from schemas.base.integers import Count, Ordinal, Version
from schemas.base.timestamps import Timestamp
from schemas.bus.events import Trigger
from schemas.tenant.api_keys import ApiKey
from schemas.tenant.budget import BudgetSpent
from schemas.tenant.holds import LegalHold
from schemas.tenant.identity_provider import IdentityProvider
from schemas.tenant.policy import TenantPolicy


class FreshExample(Contract):
    """An eligible example that no training was requested for yet."""

    example_id: OpaqueId
    version: Version
    consent_id: OpaqueId | None = None


class CurationState(Contract):
    """How far curation is from the next training.

    ``fresh`` is bounded by the policy's ``min_new_examples``, and ``recent`` by that and the length of a run, so that
    an approval costs the same however many came before. ``recent`` remembers the examples of the last batch, and behind
    them those that its swap counted into earlier ones: a redelivery of the very event that completed a batch is then
    seen to be counted although ``fresh`` was emptied by it. A later version of one of them is new: somebody corrected
    it.
    """

    fresh: tuple[FreshExample, ...] = ()
    recent: tuple[FreshExample, ...] = ()
    suspended: tuple[FreshExample, ...] = Field(default=(), description="between fresh and waiting for consent")
    batches: int = Field(default=0, ge=0)
    eligibility_version: OpaqueId | None = Field(
        default=None,
        description="the latest event that took eligibility away, and the revision at which it was entered, so that no"
        " value comes back: a set frozen before it is checked again",
    )


class RunState(Contract):
    """One training run. Ended ones move out of the state: see ``tenancy.state.archive``."""

    trigger: Trigger = "operator"
    status: Literal["queued", "running", "publishing", "completed", "rejected", "failed"]
    attempts: int = Field(default=0, ge=0)
    fence: int = Field(default=0, ge=0, description="fencing number of the attempt that holds or held the lease")
    taken_at: Timestamp | None = Field(default=None, description="when the attempt of that fence took the run")
    training_set_id: Sha256Hex | None = None
    adapter_digest: Sha256Hex | None = None
    reason_code: ReasonCode | None = None
    requested_at: Timestamp
    trained_tokens: int = Field(default=0, ge=0)
    train_seconds: float = Field(default=0.0, ge=0.0)

    @property
    def is_over(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.status in ("completed", "rejected", "failed")


class AdapterState(Contract):
    """One published adapter. ``publishing``: the swap is done, the files are being moved out of staging.

    All but the latest move out of the state: see ``tenancy.state.archive``.
    """

    status: Literal["publishing", "ready", "retired"]
    run_id: OpaqueId
    fence: int = Field(ge=1, description="fencing number of the attempt that made it; no two of a tenant have the same")
    training_set_id: Sha256Hex
    base_model_digest: Sha256Hex
    size_bytes: int = Field(ge=1)
    published_at: Timestamp = Field(description="by some worker's clock: to be shown, never to be decided by")
    rolled_back: bool = Field(
        default=False, description="left by a rollback, and not active since: no rollback returns to it by itself"
    )
    retired_at: Timestamp | None = Field(default=None, description="absent: it is not retired")

    def is_newer_than(self, other: AdapterState) -> bool:
        """Whether it is of a later attempt. The state numbers the attempts, so no clock can be wrong about it."""
        return self.fence > other.fence


def oldest_first(adapters: Mapping[Sha256Hex, AdapterState]) -> list[Sha256Hex]:
    """The digests, in the order of :meth:`AdapterState.is_newer_than`."""
    return sorted(adapters, key=lambda digest: adapters[digest].fence)


class CanaryState(Contract):
    """A candidate that answers a share of the tenant's conversations, beside the active adapter."""

    adapter_digest: Sha256Hex
    percent: int = Field(ge=1, le=99, description="of the conversations; the active adapter answers the others")
    activation: Ordinal = Field(description="the change of adapter by which it began; its answers are counted under it")
    began_at: Timestamp


class EndedCanary(Contract):
    """The latest canary that the comparison with the active adapter ended, how, and why."""

    adapter_digest: Sha256Hex
    activation: Ordinal
    decision: Literal["promote", "roll-back"]
    reason_code: ReasonCode
    at: Timestamp


class OutboxEntry(Contract):
    """An event that the swap which wrote this entry owes to the bus."""

    event_type: str
    data: dict[str, Any]
    time: Timestamp
    causation_id: str | None = None
    traceparent: Traceparent | None = None


class KnowledgeState(Contract):
    """Names the published set of the tenant's retrieval: see :mod:`schemas.objects.knowledge`."""

    generation: Ordinal
    digest: Sha256Hex
    documents: Count
    passages: Count
    size_bytes: Count
    keeps_removed: bool = Field(
        default=False, description="a legal hold was open at its publication, so texts of removed documents stay"
    )


class PurgeState(Contract):
    """The purge that fenced this tenant. ``destruction_decided_at`` and ``holds`` change by swaps of one object, so
    that a hold is placed either before the point of no return or not at all.
    """

    purge_id: PurgeId
    fenced_at: Timestamp
    export_digest: Sha256Hex | None = Field(
        default=None, description="the adapter that the tenant has a right to take, as it was at the fence"
    )
    destruction_decided_at: Timestamp | None = Field(
        default=None,
        description="the point of no return; never earlier than the fence and the releases of holds, whosever clock "
        "these were noted by",
    )


class TenantState(Contract):
    """The tenant's state. ``rev`` and ``nonce`` change with every swap: content-derived ETags allow A→B→A."""

    tenant: TenantName
    status: Literal["active", "purging", "purged"] = "active"
    rev: int = Field(default=1, ge=1)
    fence: int = Field(default=0, ge=0)
    nonce: str
    policy: TenantPolicy = TenantPolicy()
    policy_version: Version = 1
    policy_set_by: OpaqueId | None = Field(default=None, description="the operator of this version, if one asked")
    curation: CurationState = CurationState()
    runs: dict[OpaqueId, RunState] = Field(default_factory=dict)
    adapters: dict[Sha256Hex, AdapterState] = Field(default_factory=dict)
    active_adapter: Sha256Hex | None = None
    canary: CanaryState | None = None
    ended_canary: EndedCanary | None = Field(default=None, description="absent: no canary was ended by metrics")
    activations: int = Field(
        default=0, ge=0, description="how often it changed which adapters answer, the active one or a canary"
    )
    adapter_history: tuple[Sha256Hex, ...] = Field(default=(), description="earlier active adapters, oldest first")
    knowledge: KnowledgeState | None = Field(default=None, description="absent: no document was ever added")
    outbox: tuple[OutboxEntry, ...] = ()
    budget: BudgetSpent | None = Field(default=None, description="absent: no level of a budget was reached yet")
    api_keys: tuple[ApiKey, ...] = Field(default=(), description="hashes of what the tenant's applications send")
    identity_provider: IdentityProvider | None = Field(
        default=None, description="absent: only the installation's own tokens and API keys are taken"
    )
    purge: PurgeState | None = None
    holds: tuple[LegalHold, ...] = Field(default=(), description="open and released ones, in the order they came")
    text_erasures: tuple[OpaqueId, ...] = Field(
        default=(), description="examples of which texts are being erased: decided while no hold was open"
    )
    texts_kept: int = Field(
        default=0,
        ge=0,
        description="how often a hold kept texts that are of no use since the last time all were erased",
    )
    erasures: tuple[Sha256Hex, ...] = Field(
        default=(),
        description="retired adapters whose weights are being erased: decided while no hold was open, and not known to "
        "be done",
    )
