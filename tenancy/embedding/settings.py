"""Defines the settings of embedding, which every process that indexes, searches or embeds extends its own with."""

from __future__ import annotations

from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings

from schemas.base.addresses import HttpUrl, is_private_way
from tenancy.embedding.port import TextKind
from tenancy.embedding.prompts import Prompts
from tenancy.platform.settings import FROM_ENVIRONMENT


class EmbedderSettings(BaseSettings):
    """Which embedder indexes and searches. One for a whole installation: vectors of two cannot be compared."""

    model_config = FROM_ENVIRONMENT

    embedder_model: str | None = Field(
        default=None,
        description="folder or hub id of a sentence-transformers model, or a model's name at SANO_EMBEDDER_URL; "
        "absent: all-MiniLM-L6-v2 where its package is installed",
    )
    embedder_url: HttpUrl | None = Field(
        default=None, description="base URL of an OpenAI-compatible service that embeds instead: https, or loopback"
    )
    embedder_api_key: SecretStr | None = Field(default=None, description="bearer token for that service")
    embedder_dimensions: int | None = Field(
        default=None, ge=1, le=8192, description="of that service's vectors; required with it"
    )
    embedder_query_prompt: str | None = Field(
        default=None, max_length=2000, description="before each query; absent: the model's own, at a service none"
    )
    embedder_passage_prompt: str | None = Field(
        default=None, max_length=2000, description="before each passage; absent: the model's own, at a service none"
    )
    embedder_timeout_seconds: float = Field(default=30.0, gt=0.0, le=3600.0, description="of one request to it")

    def prompts(self) -> Prompts:
        """Those that are set."""
        query, passage = self.embedder_query_prompt, self.embedder_passage_prompt
        said: dict[TextKind, str | None] = {"query": query, "passage": passage}
        return {kind: prompt for kind, prompt in said.items() if prompt is not None}

    @model_validator(mode="after")
    def _service_is_whole(self) -> Self:
        if self.embedder_url is None:
            return self
        if self.embedder_model is None or self.embedder_dimensions is None:
            names = "SANO_EMBEDDER_MODEL and SANO_EMBEDDER_DIMENSIONS"
            raise PydanticCustomError("half_a_pair", f"SANO_EMBEDDER_URL needs {names}")
        if not is_private_way(self.embedder_url):
            raise PydanticCustomError("no_tls", "SANO_EMBEDDER_URL must begin with https, or name a loopback address")
        return self
