"""Runs periodic work beside the events: reconcilers and runners. It holds no state that matters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tenancy.platform.logs import SCOPE, safe_message

logger = logging.getLogger(f"{SCOPE}.runtime")

LOOKS = 4
"""Under way at once, of work whose calls share the tenants out among themselves."""
PATIENCE_SECONDS = 2.0
"""How long a poke waits for the call that is under way, where another may begin beside it."""


@dataclass
class Periodic:
    """Calls ``work`` every ``seconds``, counted from begin to begin, and at once when poked. A failing call is logged
    and tried again.

    ``at_once``: so many calls may be under way, each begun at its time. For work whose calls share it out among
    themselves, so that what takes long in one holds up nothing else.
    """

    name: str
    seconds: float
    work: Callable[[], Awaitable[None]]
    at_once: int = 1
    _poked: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def poke(self) -> None:
        """Do not wait for the next tick. A lost poke costs time only: the tick comes anyway."""
        self._poked.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def pause(self, took: float) -> float:
        """Seconds until the next call after one that took so many: a quarter of the period at least, so that calls
        which take long are not all that the process does.
        """
        return max(self.seconds - took, self.seconds / 4)

    async def _run(self) -> None:
        under_way: set[asyncio.Task[None]] = set()
        try:
            while True:
                self._poked.clear()
                began = asyncio.get_running_loop().time()
                newest = asyncio.create_task(self._call(), name=self.name)
                under_way.add(newest)
                await asyncio.wait({newest}, timeout=PATIENCE_SECONDS)  # many pokes are one call
                while len(under_way) >= self.at_once:
                    _, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.pause(asyncio.get_running_loop().time() - began)):
                        await self._poked.wait()
                under_way = {task for task in under_way if not task.done()}
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _call(self) -> None:
        try:
            await self.work()
        except Exception as error:
            logger.warning("%s failed", self.name, extra={"reason": safe_message(error)})
