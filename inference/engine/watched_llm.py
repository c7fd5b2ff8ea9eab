"""Calls vLLM's adapter functions with a timeout; a hung engine is declared dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from inference.engine.errors import EngineDead
from tenancy.platform.logs import SCOPE

logger = logging.getLogger(f"{SCOPE}.inference")

T = TypeVar("T")

POLL_SECONDS = 0.2


class WatchedLlm:
    """``llm`` is vLLM's AsyncLLM. Its engine process takes these calls between two steps, however many requests wait
    for their turn, so an engine that leaves one unanswered for ``answer_seconds`` has stopped: in a step that does not
    end, or in the call itself. That counts as dead from then on, ``on_hung`` is called, and the call raises
    :class:`EngineDead`.
    """

    def __init__(self, llm: Any, answer_seconds: float, on_hung: Callable[[], None]) -> None:
        self._llm = llm
        self._answer_seconds = answer_seconds
        self._on_hung = on_hung
        self._has_hung = False

    @property
    def errored(self) -> bool:
        """Whether the engine is dead for good."""
        return self._has_hung or bool(self._llm.errored)

    async def add_lora(self, request: Any) -> bool:
        return bool(await self._answered(self._llm.add_lora(request)))

    async def remove_lora(self, lora_id: int) -> bool:
        return bool(await self._answered(self._llm.remove_lora(lora_id)))

    async def list_loras(self) -> set[int]:
        return set(await self._answered(self._llm.list_loras()))

    async def collective_rpc(self, method: str, args: tuple[Any, ...] = ()) -> list[Any]:
        return list(await self._answered(self._llm.collective_rpc(method, args=args)))

    async def reset_prefix_cache(self) -> bool:
        return bool(await self._answered(self._llm.reset_prefix_cache()))

    async def _answered(self, call: Coroutine[Any, Any, T]) -> T:
        if self.errored:
            call.close()
            raise EngineDead
        asked = asyncio.ensure_future(call)
        try:
            return await self._answer_of(asked)
        finally:
            asked.cancel()

    async def _answer_of(self, asked: asyncio.Future[T]) -> T:
        """Looks now and then whether the engine has died: vLLM leaves the calls of a dead one waiting for ever."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._answer_seconds
        while (left := until - loop.time()) > 0:
            await asyncio.wait([asked], timeout=min(left, POLL_SECONDS))
            if asked.done():
                try:
                    return asked.result()
                except Exception:
                    if self.errored:
                        raise EngineDead from None
                    raise
            if self.errored:
                raise EngineDead
        if not self._has_hung:
            self._has_hung = True
            logger.error("engine hung", extra={"reason": f"it did not answer a call for {self._answer_seconds:g} s"})
            self._on_hung()
        raise EngineDead
