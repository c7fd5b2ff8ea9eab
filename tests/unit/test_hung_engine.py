"""An engine that does not answer any more, without an error: nobody waits for it without end, and it counts as dead."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import EngineDead
from inference.engine.in_flight import EventStream, Flight, result_of
from inference.engine.loaded_adapters import LoadedAdapters
from inference.engine.stream_usage import StreamUsage
from inference.engine.vllm_errors import error_events
from inference.engine.watched_llm import WatchedLlm

AT_ONCE, LONG = 0.01, 60.0


@dataclass
class Llm:
    """vLLM's engine: it takes calls in order and, while it is in a step that does not end, answers none."""

    between_steps: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)
    errored: bool = False

    async def _answered(self, what: str, answer: Any) -> Any:
        self.asked.append(what)
        await self.between_steps.wait()
        return answer

    async def add_lora(self, request: Any) -> bool:
        return bool(await self._answered("add_lora", True))

    async def remove_lora(self, lora_id: int) -> bool:
        return bool(await self._answered("remove_lora", True))

    async def list_loras(self) -> set[int]:
        return set(await self._answered("list_loras", set()))

    async def collective_rpc(self, method: str, args: tuple[Any, ...] = ()) -> list[Any]:
        return list(await self._answered(method, [{"slots_clear": True}]))

    async def reset_prefix_cache(self) -> bool:
        return bool(await self._answered("reset_prefix_cache", True))

    async def abort(self, engine_ids: list[str]) -> None:
        self.asked.append("abort")


def calls(llm: WatchedLlm) -> dict[str, Any]:
    return {
        "add_lora": lambda: llm.add_lora(None),
        "remove_lora": lambda: llm.remove_lora(1),
        "list_loras": llm.list_loras,
        "forget_lora_and_overwrite": lambda: llm.collective_rpc("forget_lora_and_overwrite", args=(1,)),
        "reset_prefix_cache": llm.reset_prefix_cache,
    }


CALLS = ["add_lora", "remove_lora", "list_loras", "forget_lora_and_overwrite", "reset_prefix_cache"]


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_that_stays_unanswered_is_given_up_and_the_engine_is_asked_nothing_more(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    inner = Llm()
    llm = WatchedLlm(inner, AT_ONCE, lambda: told.append(""))
    with caplog.at_level(logging.ERROR), pytest.raises(EngineDead):
        await calls(llm)[call]()
    assert llm.errored
    assert (told, inner.asked) == ([""], [call])
    assert [record.message for record in caplog.records] == ["engine hung"]
    for later in CALLS:
        with pytest.raises(EngineDead):
            await calls(llm)[later]()
    assert (told, inner.asked) == ([""], [call])


@pytest.mark.parametrize("call", CALLS)
async def test_an_engine_that_answers_between_two_long_steps_is_not_dead(call: str) -> None:
    inner = Llm()
    llm = WatchedLlm(inner, LONG, lambda: pytest.fail("it answers"))
    asked = asyncio.create_task(calls(llm)[call]())
    await asyncio.sleep(0)
    assert not asked.done()
    inner.between_steps.set()
    await asked
    assert not llm.errored


async def test_a_timeout_inside_the_engine_is_no_silence() -> None:
    class TimingOut(Llm):
        async def list_loras(self) -> set[int]:
            raise TimeoutError

    llm = WatchedLlm(TimingOut(), LONG, lambda: pytest.fail("it answers"))
    with pytest.raises(TimeoutError):
        await llm.list_loras()
    assert not llm.errored


def hanging(folder: Path) -> tuple[Engine, Llm]:
    """An engine as :meth:`Engine.start` leaves it, around one that answers no call."""
    engine, llm = Engine(EngineConfig(base_model=folder, answer_seconds=AT_ONCE)), Llm()
    engine._llm = llm
    engine._serving = object()
    engine._answering = WatchedLlm(llm, AT_ONCE, engine._hung)
    engine._adapters = LoadedAdapters(engine._answering, {}, capacity=2, running=engine.inflight)
    return engine, llm


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_the_requests_of_an_engine_that_hangs_end_and_it_is_not_healthy_any_more(tmp_path: Path) -> None:
    engine, llm = hanging(tmp_path)
    flights = engine._flights
    whole, streamed = Flight("1", "a", ["1"], "t1"), Flight("2", None, ["2"], "t2")
    waiting = asyncio.create_task(result_of(flights, whole, flights.start(whole, for_ever())))
    stream = EventStream(flights, streamed, StreamUsage({}))
    flights.start(streamed, for_ever()).add_done_callback(stream.ended)
    assert engine.is_healthy()
    with pytest.raises(EngineDead):
        await engine.require_answer()
    assert not engine.is_healthy()
    with pytest.raises(EngineDead):
        await waiting
    assert [event async for event in stream] == [*error_events(EngineDead())]
    assert (engine.inflight("a"), engine.inflight_of("t2")) == (0, 0)
    with pytest.raises(EngineDead):
        engine._admit(None, "3")
    assert "abort" not in llm.asked


async def test_an_engine_that_answers_is_left_alone(tmp_path: Path) -> None:
    engine, llm = hanging(tmp_path)
    llm.between_steps.set()
    await engine.require_answer()
    assert engine.is_healthy()


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_to_an_engine_that_dies_is_not_waited_for(call: str) -> None:
    """vLLM answers none of the calls that a dying engine has not answered, nor says so."""
    inner = Llm()
    llm = WatchedLlm(inner, LONG, lambda: pytest.fail("it has not hung"))
    asked = asyncio.create_task(calls(llm)[call]())
    await asyncio.sleep(0)
    inner.errored = True
    async with asyncio.timeout(LONG / 2):
        with pytest.raises(EngineDead):
            await asked


async def test_an_error_of_a_dying_engine_is_that_it_is_dead() -> None:
    class Dying(Llm):
        async def list_loras(self) -> set[int]:
            self.errored = True
            raise RuntimeError

    with pytest.raises(EngineDead):
        await WatchedLlm(Dying(), LONG, lambda: None).list_loras()


async def test_a_caller_that_gives_up_ends_its_call() -> None:
    ended: list[str] = []

    class Asked(Llm):
        async def list_loras(self) -> set[int]:
            try:
                return await super().list_loras()
            finally:
                ended.append("call")

    asked = asyncio.create_task(WatchedLlm(Asked(), LONG, lambda: None).list_loras())
    await asyncio.sleep(0.01)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await asyncio.sleep(0)
    assert ended == ["call"]
