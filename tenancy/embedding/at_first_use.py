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
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _opened: Embedder | None = field(default=None, init=False)

    async def __call__(self) -> Embedder | None:
        async with self._opening:
            if self._opened is None:
                self._opened = await self.stack.enter_async_context(open_embedder(self.settings, self.cache))
            return self._opened
