"""Stands in for vLLM's engine process: gives every running request one token at a fixed pace, and computes nothing.

Everything of vLLM that runs in the API's own process is real, and is what is measured: chat template, tokenizer,
detokenizer, serving classes, and for the peer its HTTP server. What is missing on both sides alike is the socket
between the two processes.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

STEP_SECONDS = 0.025
TOKENS = (262, 253, 282, 284, 418, 327, 335, 216)  # words and pieces of words of most vocabularies


class PacedCore:
    """What vLLM's ``AsyncLLM`` asks of its engine's client."""

    def __init__(self) -> None:
        # No process of its own: there is nothing to find and to end.
        self.resources = SimpleNamespace(engine_dead=False, engine_manager=SimpleNamespace(processes=[]))
        self.engine_ranks_managed = [0]
        self._left: dict[str, int] = {}
        self._new: set[str] = set()
        self._loaded: set[int] = set()
        self._steps = self._made()

    async def get_output_async(self) -> Any:
        return await anext(self._steps)

    async def _made(self) -> AsyncIterator[Any]:
        from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, FinishReason
        from vllm.v1.metrics.stats import PrefillStats

        loop, words = asyncio.get_running_loop(), itertools.cycle(TOKENS)
        due = loop.time()
        while True:
            due = max(due + STEP_SECONDS, loop.time())
            await asyncio.sleep(due - loop.time())
            if not self._left:
                continue
            outputs = []
            for request_id in list(self._left):
                self._left[request_id] -= 1
                is_last = not self._left[request_id]
                outputs.append(
                    EngineCoreOutput(
                        request_id=request_id,
                        new_token_ids=[next(words)],
                        finish_reason=FinishReason.LENGTH if is_last else None,
                        prefill_stats=PrefillStats() if request_id in self._new else None,
                    )
                )
                if is_last:
                    del self._left[request_id]
            self._new.clear()
            yield EngineCoreOutputs(outputs=outputs)

    async def add_request_async(self, request: Any) -> None:
        self._left[request.request_id] = request.sampling_params.max_tokens
        self._new.add(request.request_id)

    async def abort_requests_async(self, request_ids: list[str]) -> None:
        for request_id in request_ids:
            self._left.pop(request_id, None)

    async def get_supported_tasks_async(self) -> tuple[str, ...]:
        return ("generate",)

    async def reset_mm_cache_async(self) -> None:
        return None

    async def reset_prefix_cache_async(self, *_: Any) -> bool:
        return True

    async def add_lora_async(self, request: Any) -> bool:
        self._loaded.add(request.lora_int_id)
        return True

    async def remove_lora_async(self, lora_id: int) -> bool:
        self._loaded.discard(lora_id)
        return True

    async def list_loras_async(self) -> set[int]:
        return set(self._loaded)

    async def collective_rpc_async(self, *_: Any, **__: Any) -> list[Any]:
        return [True]

    def dp_engines_running(self) -> bool:
        return True

    def shutdown(self, timeout: float | None = None) -> None:
        with suppress(RuntimeError):
            self._left.clear()


def install() -> None:
    """Let vLLM begin this instead of its engine process."""
    from vllm.v1.engine import core_client

    core_client.EngineCoreClient.make_async_mp_client = staticmethod(lambda *_, **__: PacedCore())
