"""Defines the events of curation: proposals, reviews, decisions on examples, and consents."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base.identifiers import OpaqueId, ReasonCode, Sha256Hex
from schemas.base.integers import Ordinal, Version
from schemas.base.timestamps import Timestamp
from schemas.bus.content import Committed, CommittedInline
from schemas.bus.events.base import CURATION, EventData
from schemas.bus.redaction import GateVerdict, Redaction

SourceKind = Literal["file", "fhir", "hl7", "curation-tool", "publisher", "edit"]
Verdict = Literal["approved", "rejected"]


class ExampleProposed(EventData):
    """A source proposes this version of an example for review. Its text was redacted before, and is encrypted."""

    type = "sano.example.proposed"
    topic = CURATION
    identified_by = ("example_id", "version")

    example_id: OpaqueId
    version: Version
    source: SourceKind = Field(description="where the text comes from; edit: a reviewer changed an earlier version")
    author_id: OpaqueId | None = Field(default=None, description="who wrote or edited it, and so may not review it")
    consent_id: OpaqueId | None = None
    provenance_ids: tuple[OpaqueId, ...] = Field(
        default=(), max_length=16, description="the source's own records of where the text comes from"
    )
    redaction: Redaction
    content: CommittedInline


class ExampleReviewed(EventData):
    """One reviewer's verdict on this exact version. The tenant's policy says how many decide."""

    type = "sano.example.reviewed"
    topic = CURATION
    identified_by = ("example_id", "version", "reviewer_id")

    example_id: OpaqueId
    version: Version
    reviewer_id: OpaqueId
    verdict: Verdict
    reason_code: ReasonCode | None = Field(default=None, description="of a rejection")
    commitment: Sha256Hex = Field(description="of the text that the reviewer saw")


class ExampleApproved(EventData):
    """This exact version of an example is approved: by its reviewers here, or elsewhere as a publisher states."""

    type = "sano.example.approved"
    topic = CURATION
    identified_by = ("example_id", "version")

    example_id: OpaqueId
    version: Version
    reviewer_id: OpaqueId
    consent_id: OpaqueId | None = None
    content: Committed
    gate: GateVerdict | None = Field(default=None, description="of the text; absent: no gate of ours has seen it")
    stated_by: OpaqueId | None = Field(default=None, description="operator who states that it was reviewed elsewhere")


class ExampleRejected(EventData):
    """A reviewer rejected this version. A later version may be approved."""

    type = "sano.example.rejected"
    topic = CURATION
    identified_by = ("example_id", "version")

    example_id: OpaqueId
    version: Version
    reviewer_id: OpaqueId
    reason_code: ReasonCode


class ExampleReturned(EventData):
    """The redaction gate found identifiers in an approved version when a training set was frozen: back to review."""

    type = "sano.example.returned"
    topic = CURATION
    identified_by = ("example_id", "version", "run_id", "fence")

    example_id: OpaqueId
    version: Version
    commitment: Sha256Hex
    run_id: OpaqueId
    fence: Ordinal
    redaction: Redaction = Field(description="what the gate would replace: kinds and counts")


class ExampleWithdrawn(EventData):
    """The example is withdrawn permanently: no version of it may be used again."""

    type = "sano.example.withdrawn"
    topic = CURATION
    identified_by = ("example_id",)

    example_id: OpaqueId
    reason_code: ReasonCode


class ConsentGranted(EventData):
    """Consent to train is granted as of this version."""

    type = "sano.consent.granted"
    topic = CURATION
    identified_by = ("consent_id", "version")

    consent_id: OpaqueId
    version: Version
    until: Timestamp | None = Field(default=None, description="from then on it is not granted; absent: no end is set")


class ConsentRevoked(EventData):
    """Consent to train is revoked as of this version."""

    type = "sano.consent.revoked"
    topic = CURATION
    identified_by = ("consent_id", "version")

    consent_id: OpaqueId
    version: Version
