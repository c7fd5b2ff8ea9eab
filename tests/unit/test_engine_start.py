"""The engine's start cannot be cut off: it runs in a thread, and makes processes."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inference import engine as engine_module
from inference.engine import Engine
from inference.engine_config import EngineConfig

BOUND_SECONDS = 30


async def test_a_start_that_is_cancelled_ends_what_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), list[str]()
    engine = Engine(EngineConfig(base_model=tmp_path))

    def start(_: Any) -> None:
        begun.set()
        assert may_end.wait(BOUND_SECONDS)
        engine._llm = SimpleNamespace(shutdown=lambda: ended.append("processes"), errored=False)

    monkeypatch.setattr(engine_module, "prepare_environment", lambda _: None)
    monkeypatch.setattr(engine_module, "serving_arguments", lambda _: None)
    monkeypatch.setattr(engine, "_start_vllm", start)
    starting = asyncio.create_task(engine.start())
    assert await asyncio.to_thread(begun.wait, BOUND_SECONDS)
    starting.cancel()
    await asyncio.sleep(0)
    assert not starting.done()
    may_end.set()
    async with asyncio.timeout(BOUND_SECONDS):
        with pytest.raises(asyncio.CancelledError):
            await starting
    assert ended == ["processes"]
    assert not engine.is_healthy()
