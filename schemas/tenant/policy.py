"""Defines a tenant's policy: what its contract decides, as a value stored with the tenant, never a constant in code."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId
from schemas.base.integers import Amount
from schemas.tenant.hyperparameters import Hyperparameters

DELETION_RESERVE = timedelta(days=1)
"""The end of a deletion SLA, reserved for deletion: no wait of a purge extends into it."""
MOST_CANARY_HOURS = 720


class TenantPolicy(Contract):
    """The terms of a tenant's contract that this system acts on."""

    baa_reference: OpaqueId | None = Field(
        default=None, description="opaque reference to the contract, repeated in the certificate of purge"
    )
    # 8: a dead letter, which holds whatever was sent, can survive 7 days, 1 hour and 6 minutes (schemas.bus.topics),
    # and a promise that the topics cannot keep is none. Live topics may be kept for longer (schemas.bus.retention).
    deletion_sla_days: int = Field(default=30, ge=8, le=365, description="days from purge request to certificate")
    right_of_export: bool = Field(
        default=False, description="a purge first exports the active adapter and waits for the tenant to take it"
    )
    export_wait_days: int = Field(
        default=7, ge=1, le=364, description="days that a purge waits for the tenant to take its export"
    )
    require_consent: bool = Field(default=True, description="an example without a granted consent is never trained on")
    reviewers_required: int = Field(
        default=1, ge=1, le=5, description="reviewers who must agree on a proposed example; its author is none of them"
    )
    min_new_examples: int = Field(
        default=64, ge=1, le=1000, description="new eligible examples that trigger automatic training"
    )
    min_training_examples: int = Field(default=8, ge=1, le=1_000_000, description="smaller training sets are refused")
    automatic_training: bool = Field(default=True, description="train automatically on each batch of new examples")
    on_gate_hit: Literal["leave-out", "fail"] = Field(
        default="leave-out",
        description="when the redaction gate finds identifiers in an approved example as a set is frozen, which sends "
        "the example back to review. leave-out: the run goes on without it; fail: the run is rejected",
    )
    on_withdrawal: Literal["flag", "retrain", "stop"] = Field(
        default="retrain",
        description="for adapters that contain a withdrawn example. flag: list them; retrain: replace and retire them; "
        "stop: retire them",
    )
    retrain_within_days: int = Field(
        default=30,
        ge=1,
        le=365,
        description="days until such an adapter is retired at the latest, with or without a replacement",
    )
    activation: Literal["automatic", "manual"] = Field(
        default="automatic",
        description="whether a new adapter becomes active automatically or by an operator's command",
    )
    require_signed_publishers: bool | None = Field(
        default=None,
        description="refuse decisions, consents and documents without the signature of a registered publisher; absent: "
        "once the installation refuses unsigned events of its own services",
    )
    share_weight: int = Field(
        default=1, ge=1, le=100, description="weight of the tenant's share of a replica's engine while others wait too"
    )
    concurrent_requests: int = Field(
        default=64, ge=1, le=1024, description="requests that a replica's engine answers at once"
    )
    queued_requests: int = Field(
        default=192, ge=0, le=1024, description="further requests that wait for their turn on a replica"
    )
    requests_per_minute: int = Field(default=10_000, ge=1, le=1_000_000, description="requests a minute on a replica")
    tokens_per_minute: int = Field(
        default=1_000_000,
        ge=1,
        le=1_000_000_000,
        description="tokens a minute on a replica, of prompts and answers together",
    )
    context_tokens: int = Field(
        default=131_072,
        ge=16,
        le=1_048_576,
        description="tokens of a prompt and its answer together; the engine's own bound may be smaller",
    )
    canary_decision: Literal["operator", "metrics"] = Field(
        default="operator",
        description="who ends a canary. operator: by command; metrics: also by what its answers are, compared with the "
        "active adapter's, within the bounds below",
    )
    canary_answers: int = Field(
        default=200, ge=20, le=1_000_000, description="answers of a canary without which it is not promoted"
    )
    canary_hours: int = Field(
        default=24, ge=0, le=MOST_CANARY_HOURS, description="hours before which a canary is not promoted"
    )
    canary_max_hours: int = Field(
        default=168,
        ge=1,
        le=MOST_CANARY_HOURS,
        description="hours after which a canary that was not promoted is rolled back",
    )
    canary_error_points: float = Field(
        default=1.0, ge=0.0, le=100.0, description="percentage points by which a canary may fail more often"
    )
    canary_refusal_points: float = Field(
        default=5.0, ge=0.0, le=100.0, description="percentage points by which a canary may refuse more often"
    )
    canary_down_points: float = Field(
        default=2.0,
        ge=0.0,
        le=100.0,
        description="percentage points by which more of a canary's answers may be rated bad",
    )
    canary_slower: float = Field(
        default=1.25,
        ge=1.0,
        le=10.0,
        description="times the active adapter's mean time that a canary's answer may take",
    )
    keep_resident: bool = Field(
        default=False,
        description="the active adapter stays loaded on every replica, whoever else asks; of more tenants than half a "
        "replica's adapters the rest are served as without it",
    )
    monthly_budget: Amount | None = Field(
        default=None, description="what a month may cost, in the currency of the price file; absent: no budget"
    )
    on_budget: Literal["warn", "stop"] = Field(
        default="warn",
        description="at 100 % of the budget. warn: as at 80 %; stop: refuse answers and begin no training until the "
        "month is over",
    )
    retrieval: bool = Field(
        default=False, description="chat answers are given from the tenant's documents where the request does not say"
    )
    retrieval_passages: int = Field(default=4, ge=1, le=20, description="passages that an answer is given from at most")
    retrieval_min_similarity: float = Field(
        default=0.25, ge=-1.0, le=1.0, description="cosine to the question below which a passage supports no answer"
    )
    unsupported_answers: Literal["given", "declined"] = Field(
        default="given",
        description="where no passage supports an answer. given: by the model, marked as unsupported; declined: by a "
        "fixed sentence that says so",
    )
    knowledge_index: Literal["memory", "postgres"] = Field(
        default="memory",
        description="where the documents are searched. memory: each replica's own; postgres: the installation's "
        "database with pgvector, for more documents than a replica's memory holds",
    )
    hyperparameters: Hyperparameters = Hyperparameters()

    @property
    def keeps_its_promise(self) -> bool:
        """Whether the wait for the tenant to take its export leaves time for the promised deletion.

        Not a rule of the schema: an existing event with such a policy must stay readable.
        """
        return not self.right_of_export or self.export_wait_days < self.deletion_sla_days

    @property
    def export_wait(self) -> timedelta:
        """How long a purge waits for the tenant; always shorter than the deletion SLA."""
        return min(timedelta(days=self.export_wait_days), timedelta(days=self.deletion_sla_days) - DELETION_RESERVE)


def waits_until(since: datetime, wait: timedelta, deadline: datetime) -> datetime:
    """The latest time at which a waiting purge continues. The deletion SLA wins."""
    return min(since + wait, deadline - DELETION_RESERVE)
