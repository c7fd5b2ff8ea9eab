"""Defines the records of review, sealed under the tenant's prefix: proposed examples, reviews, and what is open."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, ReasonCode, Sha256Hex
from schemas.base.integers import Version
from schemas.base.timestamps import Timestamp
from schemas.bus.events import SourceKind, Verdict
from schemas.bus.redaction import GateVerdict, Redaction
from schemas.objects import object_keys

ProposedBy = SourceKind | Literal["freeze"]
"""``freeze``: nobody proposed it. It was approved, and the redaction gate sent it back when a set was frozen."""


class Decision(Contract):
    """What the reviews of a version came to, once as many agreed as the tenant's policy asked for then."""

    verdict: Verdict
    reviewer_ids: tuple[OpaqueId, ...] = Field(min_length=1, description="those who agreed, in the order they did")
    reason_code: ReasonCode | None = Field(default=None, description="of a rejection: the first one's")
    decided_at: Timestamp
    cause_id: OpaqueId = Field(description="the event that completed the decision")
    policy_version: Version


class ProposalRecord(Contract):
    """The highest version of an example that was proposed. Reviews of an earlier one are void."""

    example_id: OpaqueId
    version: Version
    commitment: Sha256Hex
    event_id: OpaqueId
    source: ProposedBy
    author_id: OpaqueId | None = None
    consent_id: OpaqueId | None = None
    provenance_ids: tuple[OpaqueId, ...] = Field(default=(), max_length=16)
    proposed_at: Timestamp
    redaction: Redaction = Field(
        description="by the source's gate, before it was published; of what was sent back, what the gate still finds"
    )
    gate: GateVerdict = Field(description="of curation's gate, before it was sealed, or of the one that sent it back")
    decision: Decision | None = None

    @property
    def mark(self) -> str:
        """The key of what marks it as open."""
        return object_keys.open_proposal(self.proposed_at, self.example_id)

    def counts(self, review: ReviewRecord) -> bool:
        """Tell whether a review counts: not the author's own, nor one of another text than this version's."""
        return review.reviewer_id != self.author_id and review.commitment == self.commitment


class OpenProposal(Contract):
    """Marks an example that has something to be reviewed. Its key has the time at which that was proposed, so that the
    queue is listed from the oldest on, a part at a time, without reading every record.
    """

    example_id: OpaqueId


class ReviewRecord(Contract):
    """One reviewer's verdict. The first word of a reviewer on a version stands."""

    example_id: OpaqueId
    version: Version
    reviewer_id: OpaqueId
    verdict: Verdict
    reason_code: ReasonCode | None = None
    commitment: Sha256Hex
    event_id: OpaqueId
    reviewed_at: Timestamp
