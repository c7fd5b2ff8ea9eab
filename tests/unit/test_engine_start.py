"""The engine's start cannot be cut off: it runs in a thread, and makes processes."""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import psutil
import pytest

from inference.engine import engine as engine_module
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine

BOUND_SECONDS = 30


class Refusing(MetaPathFinder):
    """Finds no module of vLLM, and notes in which thread one was looked for."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] == "vllm":
            self.threads.append(threading.current_thread())
            raise ModuleNotFoundError(name)


async def test_a_start_imports_nothing_of_vllm_on_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes ten seconds, and a minute on a busy machine, in which probes are to be answered."""
    engine, refusing = Engine(EngineConfig(base_model=tmp_path)), Refusing()
    llm = SimpleNamespace(
        shutdown=lambda: None,
        errored=False,
        collective_rpc=AsyncMock(return_value=[True]),
        get_supported_tasks=AsyncMock(return_value=()),
        output_processor=SimpleNamespace(process_outputs=lambda *_: None),
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [refusing, *sys.meta_path])
    monkeypatch.setattr(engine_module, "prepare_environment", lambda _: None)
    monkeypatch.setattr(engine_module, "serving_arguments", lambda _: None)
    monkeypatch.setattr(engine_module, "of_engine", lambda _: set())
    monkeypatch.setattr(engine, "_start_vllm", lambda _: setattr(engine, "_llm", llm))
    with pytest.raises(ModuleNotFoundError):
        await engine.start()
    assert refusing.threads, "or it was imported before"
    assert threading.current_thread() not in refusing.threads


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
    monkeypatch.setattr(engine_module, "of_engine", lambda _: set())
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


async def test_a_stop_ends_the_engines_processes_however_vllm_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(EngineConfig(base_model=tmp_path))
    seen: list[Any] = []
    worker = psutil.Process()

    def shutdown() -> None:
        seen.append("processes")
        raise RuntimeError("an engine that does not end")

    def end(processes: set[psutil.Process]) -> set[psutil.Process]:
        seen.append(set(processes))
        return set()

    monkeypatch.setattr(engine_module, "of_engine", lambda _: {worker})
    monkeypatch.setattr(engine_module, "end", end)
    monkeypatch.setattr(engine, "_start_vllm", lambda _: None)
    await engine._vllm_started(argparse.Namespace())
    engine._llm = SimpleNamespace(shutdown=shutdown, errored=False)
    with pytest.raises(RuntimeError):
        await engine.close()
    assert seen == ["processes", {worker}]
    assert engine.has_ended
