"""Opens the embedder with the first text: a model takes seconds to load, and some hundred megabytes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tenancy.embedding.opening import open_embedder
from tenancy.embedding.port import Embedder
from tenancy.embedding.settings import EmbedderSettings


@dataclass
class EmbedderAtFirstUse:
    """One embedder for a process, closed with ``stack``. None where none is set and none is installed."""

    settings: EmbedderSettings
    cache: Path
    stack: AsyncExitStack
    _opening: asyncio.Task[Embedder | None] | None = field(default=None, init=False)

    async def __call__(self) -> Embedder | None:
        """A caller that is cancelled leaves the opening to the next: of two models that transformers reads at once
        each may be broken. One that failed is tried anew.
        """
        if self._opening is None or _has_failed(self._opening):
            opened = self.stack.enter_async_context(open_embedder(self.settings, self.cache))
            self._opening = asyncio.create_task(opened, name="embedder")
        return await asyncio.shield(self._opening)


def _has_failed(opening: asyncio.Task[Embedder | None]) -> bool:
    return opening.done() and (opening.cancelled() or opening.exception() is not None)
