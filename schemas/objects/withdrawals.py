"""Defines the records of withdrawals after training: what happens to adapters that contain the example."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base.canonical import sha256_hex
from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, Sha256Hex, TenantName, Traceparent
from schemas.base.timestamps import Timestamp
from schemas.objects.replicas import ReplicaAcknowledgement

WithdrawalOutcome = Literal["not-affected", "consent-renewed", "flagged", "retired"]
"""``consent-renewed``: consent was granted again before an adapter was retired for the lack of it."""


class WithdrawalRecord(Contract):
    """One withdrawal of an example or of a consent, from the event to the signed receipt.

    ``affected`` are all adapters whose training set contains the example, or one under the consent, whether it was
    trained on or held out, and those whose training set does not open. None of them is served after ``deadline``,
    unless the policy only flags.

    What becomes of it is decided by one swap of this record: to one with ``retiring``, or to ``closing``.
    """

    withdrawal_id: OpaqueId = Field(description="the id of the event that withdrew")
    example_id: OpaqueId | None = None
    consent_id: OpaqueId | None = None
    withdrawn_at: Timestamp
    deadline: Timestamp = Field(
        description="as the policy promised it at the withdrawal; a later policy moves no promise"
    )
    traceparent: Traceparent | None = Field(default=None, description="the trace of what asked for it")
    step: Literal["open", "retiring", "closing", "closed"] = "open"
    outcome: WithdrawalOutcome | None = None
    affected: tuple[Sha256Hex, ...] = ()
    retiring: tuple[Sha256Hex, ...] = Field(
        default=(), description="of ``affected``, what this withdrawal retires itself; others were retired before"
    )
    erased: tuple[Sha256Hex, ...] = Field(default=(), description="of ``retiring``, those whose weights are erased")
    run_id: OpaqueId | None = Field(default=None, description="the retraining that was asked for on its account")
    retired_at: Timestamp | None = None
    replacement: Sha256Hex | None = Field(default=None, description="active since; absent: the base model")
    replicas: tuple[OpaqueId, ...] = Field(default=(), description="that must be rid of the affected adapters")
    incarnations: dict[OpaqueId, OpaqueId] = Field(
        default={}, description="the process that held each one's lease when it was last found"
    )
    closed_at: Timestamp | None = None

    @property
    def is_decided(self) -> bool:
        """Whether it is only carried out any more, whatever the consent or the policy says by now."""
        return self.step != "open" or bool(self.retiring)


class RetiredAdapter(Contract):
    """One affected adapter and how each replica left it, on account of this withdrawal or of an earlier one."""

    adapter_digest: Sha256Hex
    run_id: OpaqueId
    training_set_id: Sha256Hex
    retired_at: Timestamp | None = Field(default=None, description="when it left service; absent: not retired")
    replicas_found: tuple[OpaqueId, ...] | None = Field(
        default=None,
        description="those there were once it was retired, and any that signed for it since; absent: not retired",
    )
    replicas: tuple[ReplicaAcknowledgement, ...] = ()


class WithdrawalReceipt(Contract):
    """What became of a withdrawal, for whoever withdrew: signed, and free of content."""

    withdrawal_id: OpaqueId
    tenant: TenantName
    example_id: OpaqueId | None
    consent_id: OpaqueId | None
    withdrawn_at: Timestamp
    outcome: WithdrawalOutcome
    affected: tuple[RetiredAdapter, ...]
    retired_at: Timestamp | None
    replacement: Sha256Hex | None
    weights_erased: bool
    deadline: Timestamp
    closed_at: Timestamp


def withdrawal_subject(withdrawal_id: str) -> dict[str, str]:
    """What a withdrawal's receipt is about."""
    return {f"withdrawal:{withdrawal_id}": sha256_hex({"withdrawal": withdrawal_id})}
