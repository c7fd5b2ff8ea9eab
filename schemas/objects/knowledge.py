"""Defines the records of retrieval under ``knowledge/``: which documents count, and which segments index them.

A set is never changed: each change writes a new one of the next generation, and one swap of the tenant's state
publishes it. Sets and segments have their generation in their names. A segment of a generation that is over and that
the published set does not name can never be published any more, so whoever finds one may erase it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, Sha256Hex
from schemas.base.integers import Count, Ordinal, Version
from schemas.base.timestamps import Timestamp


class SegmentEntry(Contract):
    """One segment of the index: a sealed bundle. ``digest``: SHA-256 of what was sealed."""

    generation: Ordinal
    digest: Sha256Hex
    embedder: str = Field(min_length=1, max_length=300, description="whose vectors it holds")
    passages: Ordinal
    size_bytes: Ordinal


class DocumentEntry(Contract):
    """What counts of one document. A removed one stays listed, so that nothing older brings it back."""

    version: Version
    status: Literal["present", "removed"]
    event_id: OpaqueId
    title: str = Field(default="", max_length=300)
    commitment: Sha256Hex | None = None
    gate: str | None = Field(
        default=None,
        max_length=200,
        description="gate/version that judged the text; absent: none, or it is removed",
    )
    effective_from: Timestamp | None = None
    effective_until: Timestamp | None = None
    passages: Count = 0
    segment: Sha256Hex | None = Field(default=None, description="the one that holds its passages")
    generation: Count = Field(default=0, description="of the set from which on this counts; 0: not kept then")
    since: Timestamp | None = Field(default=None, description="time of the event that it counts by")

    def is_effective(self, at: datetime) -> bool:
        """Whether it may be cited then."""
        begun = self.effective_from is None or self.effective_from <= at
        return self.status == "present" and begun and (self.effective_until is None or at < self.effective_until)


class KnowledgeSet(Contract):
    """Everything that is retrieved from. Its segments hold exactly the passages of the documents that are present."""

    generation: Count = 0
    documents: dict[OpaqueId, DocumentEntry] = Field(default_factory=dict)
    segments: tuple[SegmentEntry, ...] = ()
