"""Defines the events of curation: reviewers' decisions on examples, and consents."""

from __future__ import annotations

from schemas.base.identifiers import OpaqueId, ReasonCode
from schemas.base.integers import Version
from schemas.bus.content import Committed
from schemas.bus.events.base import CURATION, EventData


class ExampleApproved(EventData):
    """A reviewer approved this exact version of an example."""

    type = "sano.example.approved"
    topic = CURATION

    example_id: OpaqueId
    version: Version
    reviewer_id: OpaqueId
    consent_id: OpaqueId | None = None
    content: Committed

    def natural_key(self) -> str:
        return f"{self.example_id}|{self.version}"


class ExampleRejected(EventData):
    """A reviewer rejected this version. A later version may be approved."""

    type = "sano.example.rejected"
    topic = CURATION

    example_id: OpaqueId
    version: Version
    reviewer_id: OpaqueId
    reason_code: ReasonCode

    def natural_key(self) -> str:
        return f"{self.example_id}|{self.version}"


class ExampleWithdrawn(EventData):
    """The example is withdrawn permanently: no version of it may be used again."""

    type = "sano.example.withdrawn"
    topic = CURATION

    example_id: OpaqueId
    reason_code: ReasonCode

    def natural_key(self) -> str:
        return self.example_id


class ConsentGranted(EventData):
    """Consent to train is granted as of this version."""

    type = "sano.consent.granted"
    topic = CURATION

    consent_id: OpaqueId
    version: Version

    def natural_key(self) -> str:
        return f"{self.consent_id}|{self.version}"


class ConsentRevoked(EventData):
    """Consent to train is revoked as of this version."""

    type = "sano.consent.revoked"
    topic = CURATION

    consent_id: OpaqueId
    version: Version

    def natural_key(self) -> str:
        return f"{self.consent_id}|{self.version}"
