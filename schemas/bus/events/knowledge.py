"""Defines the events of documents for retrieval."""

from __future__ import annotations

from pydantic import Field

from schemas.base.identifiers import OpaqueId
from schemas.base.integers import Version
from schemas.base.timestamps import Timestamp
from schemas.bus.content import CommittedDocument
from schemas.bus.events.base import KNOWLEDGE, EventData
from schemas.bus.redaction import GateVerdict


class DocumentUpserted(EventData):
    """A document of changing facts was created or replaced for the tenant's retrieval."""

    type = "sano.document.upserted"
    topic = KNOWLEDGE
    identified_by = ("document_id", "version")

    document_id: OpaqueId
    version: Version = Field(description="the highest one counts, in whatever order the events come")
    effective_from: Timestamp | None = Field(default=None, description="cited from then on; absent: at once")
    effective_until: Timestamp | None = Field(default=None, description="not cited from then on; absent: no end")
    content: CommittedDocument
    gate: GateVerdict | None = Field(default=None, description="of the text; absent: no gate of ours has seen it")
    stated_by: OpaqueId | None = Field(
        default=None, description="operator who states that nobody can be identified by the text as it is"
    )


class DocumentRemoved(EventData):
    """The document must no longer be retrieved, in this version and every earlier one."""

    type = "sano.document.removed"
    topic = KNOWLEDGE
    identified_by = ("document_id", "version")

    document_id: OpaqueId
    version: Version = Field(description="a removal wins over a document of the same version")
