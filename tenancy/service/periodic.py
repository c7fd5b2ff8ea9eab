"""Runs periodic work beside the events: reconcilers and runners. It holds no state that matters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tenancy.service.telemetry import SCOPE, safe_message

logger = logging.getLogger(f"{SCOPE}.runtime")


@dataclass
class Periodic:
    """Calls ``work`` every ``seconds``, and at once when poked. A failing call is logged and tried again."""

    name: str
    seconds: float
    work: Callable[[], Awaitable[None]]
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

    async def _run(self) -> None:
        while True:
            self._poked.clear()
            try:
                await self.work()
            except Exception as error:
                logger.warning("%s failed", self.name, extra={"reason": safe_message(error)})
            try:
                async with asyncio.timeout(self.seconds):
                    await self._poked.wait()
            except TimeoutError:
                continue
