"""Provides a shared-exclusive lock: many holders side by side, or one alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Turns:
    """Who wants to be alone waits until the others are out; meanwhile nobody new enters."""

    inside: int = 0
    _is_alone: bool = False
    _waiting_to_be_alone: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def beside_others(self) -> AsyncIterator[None]:
        await self._until(lambda: not self._is_alone and self._waiting_to_be_alone == 0)
        self.inside += 1
        try:
            yield
        finally:
            self._leave()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        self._waiting_to_be_alone += 1
        try:
            await self._until(lambda: self.inside == 0)
            self._is_alone, self.inside = True, 1
        finally:
            self._waiting_to_be_alone -= 1
            self._tell()
        try:
            yield
        finally:
            self._is_alone = False
            self._leave()

    def _leave(self) -> None:
        self.inside -= 1
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()
