"""Defines the events of documents for retrieval."""

from __future__ import annotations

from schemas.base.identifiers import OpaqueId
from schemas.base.integers import Version
from schemas.bus.content import Committed
from schemas.bus.events.base import KNOWLEDGE, EventData


class DocumentUpserted(EventData):
    """A document of changing facts was created or replaced for the tenant's retrieval."""

    type = "sano.document.upserted"
    topic = KNOWLEDGE

    document_id: OpaqueId
    version: Version
    content: Committed

    def natural_key(self) -> str:
        return f"{self.document_id}|{self.version}"


class DocumentRemoved(EventData):
    """The document must no longer be retrieved."""

    type = "sano.document.removed"
    topic = KNOWLEDGE

    document_id: OpaqueId
    version: Version

    def natural_key(self) -> str:
        return f"{self.document_id}|{self.version}"
