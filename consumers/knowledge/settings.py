"""Defines the settings of the knowledge consumer."""

from __future__ import annotations

from consumers.runtime.settings import ConsumerSettings
from tenancy.embedding.settings import EmbedderSettings
from tenancy.knowledge.database.settings import DatabaseSettings


class KnowledgeSettings(ConsumerSettings, EmbedderSettings, DatabaseSettings):
    """Adds the embedder, which makes the vectors, and the database of large indexes to what every consumer needs."""
