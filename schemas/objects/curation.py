"""Defines curation records, sealed under the tenant's prefix: examples, consents, examples waiting for consent."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, ReasonCode, Sha256Hex
from schemas.base.integers import Count
from schemas.base.timestamps import Timestamp
from schemas.bus.redaction import GateVerdict


class ExampleRecord(Contract):
    """The latest decision on an example. ``withdrawn`` is permanent; otherwise the higher version wins and, within one
    version, the rejection. ``returned``: the gate found identifiers in the approved version when a set was frozen; the
    text waits for reviewers again, as a later version."""

    example_id: OpaqueId
    version: Count = Field(description="0: withdrawn before any decision was seen")
    status: Literal["approved", "rejected", "returned", "withdrawn"]
    decided_at: Timestamp
    event_id: OpaqueId
    reviewer_id: OpaqueId | None = None
    consent_id: OpaqueId | None = None
    commitment: Sha256Hex | None = None
    reason_code: ReasonCode | None = None
    gate: GateVerdict | None = Field(
        default=None, description="of an approval or return; absent: no gate of ours has seen the text yet"
    )
    stated_by: OpaqueId | None = Field(default=None, description="operator who states that it was reviewed elsewhere")

    def decides(self, version: int) -> bool:
        """Tell whether this decision is on the version, on a later one, or for good."""
        return self.status == "withdrawn" or self.version >= version


class ConsentRecord(Contract):
    """The latest decision on a consent: the higher version wins and, within one version, the revocation."""

    consent_id: OpaqueId
    version: Count = 0
    granted: bool = False
    until: Timestamp | None = None
    event_id: OpaqueId | None = None
    decided_at: Timestamp | None = None

    def is_over(self, now: datetime) -> bool:
        """Tell whether a grant has come to its end."""
        return self.granted and self.until is not None and now >= self.until


class WaitingExample(Contract):
    """An example approved without a granted consent, or whose consent was revoked: it counts once consent is granted.

    Each is one object, since one consent may cover any number of examples.
    """

    example_id: OpaqueId
    consent_id: OpaqueId
