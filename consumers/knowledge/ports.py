"""Declares what the handlers of documents act through."""

from __future__ import annotations

from dataclasses import dataclass

from consumers.knowledge.embedding import EmbedderSource
from tenancy.bootstrap import Tenancy
from tenancy.knowledge.database.connection import Database
from tenancy.redaction.at_first_use import GateSource


@dataclass(frozen=True)
class KnowledgePorts:
    """``gate`` judges texts that come inline, from outside; what lies sealed was redacted by who sealed it.
    ``database``: holds the indexes of tenants whose policy says so; None where the installation has none.
    """

    tenancy: Tenancy
    embedder: EmbedderSource
    gate: GateSource
    database: Database | None = None
