"""The embedder is opened once in a process, whoever asks for it and whoever gives up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tenancy.embedding import at_first_use
from tenancy.embedding.at_first_use import EmbedderAtFirstUse
from tenancy.embedding.port import Embedder
from tenancy.embedding.settings import EmbedderSettings
from tenancy.errors import Refused

BOUND_SECONDS = 30


@dataclass
class Opening:
    """In the place of :func:`open_embedder`: each opening waits until it may go on, and fails if it is told to."""

    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    failures: list[Exception] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    embedder: Any = field(default_factory=object)

    @asynccontextmanager
    async def __call__(self, settings: EmbedderSettings, cache: Path) -> AsyncIterator[Embedder | None]:
        self.opened += 1
        await self.may_go_on.wait()
        if self.failures:
            raise self.failures.pop()
        yield self.embedder
        self.closed += 1


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> Opening:
    made = Opening()
    monkeypatch.setattr(at_first_use, "open_embedder", made)
    return made


async def test_a_caller_that_gives_up_leaves_the_opening_to_the_next_and_no_second_one_is_begun(
    opening: Opening, tmp_path: Path
) -> None:
    async with asyncio.timeout(BOUND_SECONDS), AsyncExitStack() as stack:
        source = EmbedderAtFirstUse(EmbedderSettings(), tmp_path, stack)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await source()
        others = [asyncio.create_task(source()) for _ in range(3)]
        await asyncio.sleep(0.01)
        opening.may_go_on.set()
        assert await asyncio.gather(*others) == [opening.embedder] * 3
        assert await source() is opening.embedder
    assert (opening.opened, opening.closed) == (1, 1)


async def test_an_opening_that_failed_is_tried_anew(opening: Opening, tmp_path: Path) -> None:
    opening.failures.append(Refused("no-model", "refused: no model"))
    opening.may_go_on.set()
    async with asyncio.timeout(BOUND_SECONDS), AsyncExitStack() as stack:
        source = EmbedderAtFirstUse(EmbedderSettings(), tmp_path, stack)
        with pytest.raises(Refused):
            await source()
        assert await source() is opening.embedder
    assert opening.opened == 2
