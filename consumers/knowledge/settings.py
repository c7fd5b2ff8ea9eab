"""Settings of the knowledge consumer."""

from __future__ import annotations

from consumers.runtime.settings import ConsumerSettings
from tenancy.embedding.settings import EmbedderSettings


class KnowledgeSettings(ConsumerSettings, EmbedderSettings):
    """What every consumer needs, and which embedder makes the vectors."""
