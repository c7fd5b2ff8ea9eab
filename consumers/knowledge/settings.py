"""Settings of the knowledge consumer."""

from __future__ import annotations

from consumers.runtime.settings import ConsumerSettings
from tenancy.embedding.settings import EmbedderSettings


class KnowledgeSettings(ConsumerSettings, EmbedderSettings):
    """Adds the embedder, which makes the vectors, to what every consumer needs."""
