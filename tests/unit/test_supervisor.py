"""An engine that dies is ended whole and started again, with pauses that grow; the replica says what it is doing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack

import pytest

from inference.engine.errors import AdapterNotLoaded, EngineDead, EngineRefused
from inference.engine.in_flight import EventStream, Flight
from inference.engine.ports import UNBOUNDED, Asking, Response
from inference.engine.stream_usage import Computed, StreamUsage
from inference.engine.supervisor import RestartPolicy, SupervisedEngine
from inference.engine.suspects import Suspects
from inference.errors import RequestRefused
from tests.world.fakes import FakeEngine

BOUND_SECONDS = 30
POLICY = RestartPolicy(first_seconds=1.0, longest_seconds=60.0, give_up_after=3, steady_seconds=60.0, poll_seconds=0.2)
BODY: dict[str, Any] = {"messages": []}


@dataclass
class Life(FakeEngine):
    """One engine. A request stays in it until it is answered or the engine dies."""

    world: World = field(kw_only=True)
    state: str = "new"
    kept: int = 0  # so many closings leave a process
    is_closing: bool = False
    refusal: EngineRefused | None = None
    dies: asyncio.Event = field(default_factory=asyncio.Event)
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def has_ended(self) -> bool:
        return self.state == "closed" and not self.kept

    async def start(self) -> None:
        self.world.log.append("start")
        if self.world.slow is not None:
            await self.world.slow.wait()
        if self.world.failing:
            self.world.failing -= 1
            self.state = "closed"
            raise RuntimeError("no memory")
        self.state = "running"

    async def close(self) -> None:
        self.is_closing = True
        try:
            for _ in range(3):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.world.log.append("closing cut off")  # which leaves what the real one shares in memory
            raise
        self.kept = max(0, self.kept - (self.state == "closed"))
        if self.state != "closed":
            self.world.log.append("closed")
        self.state = "closed"
        self.dies.set()

    def die(self) -> None:
        self.state = "dead"
        self.dies.set()

    def is_healthy(self) -> bool:
        return self.state == "running"

    async def require_answer(self) -> None:
        if not self.is_healthy():
            raise EngineDead

    async def _answer(self) -> dict[str, Any]:
        waits = [asyncio.ensure_future(each.wait()) for each in (self.dies, self.answers)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if self.dies.is_set():
            raise EngineDead
        return {}

    async def chat(self, body: Mapping[str, Any], **asking: Unpack[Asking]) -> Response:
        self.world.asked += 1
        if self.refusal is not None:
            raise self.refusal
        if not body.get("stream"):
            return await self._answer()
        flight = Flight(asking["request_id"], asking["adapter"], [], asking["owner"])
        stream = EventStream(self.flights, flight, StreamUsage(body))
        self.flights.start(flight, self._answer()).add_done_callback(stream.ended)
        return stream

    completion = chat


@dataclass
class World:
    """What the supervisor lives in. Time passes only while it sleeps."""

    log: list[Any] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    now: float = 0.0
    failing: int = 0
    kept: int = 0
    asked: int = 0
    restarted: int = 0
    slow: asyncio.Event | None = None
    engine: SupervisedEngine = field(init=False)
    suspects: Suspects = field(init=False)

    def __post_init__(self) -> None:
        self.suspects = Suspects(lambda: self.now, turn_seconds=0.05)
        self.engine = SupervisedEngine(
            self._new,
            self.suspects,
            POLICY,
            on_restarted=self._count,
            now=lambda: self.now,
            sleep=self._sleep,
            draw=lambda: 1.0,
        )
        self.engine.on_ended = lambda: self.log.append("nothing left")

    def _count(self) -> None:
        self.restarted += 1

    def _new(self) -> Life:
        self.lives.append(Life(world=self, kept=self.kept))
        return self.lives[-1]

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        if seconds != POLICY.poll_seconds:
            self.log.append(seconds)
        await asyncio.sleep(0)

    @property
    def life(self) -> Life:
        return self.lives[-1]

    async def until(self, part: list[Any]) -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            while not any(self.log[at : at + len(part)] == part for at in range(len(self.log))):
                await asyncio.sleep(0)

    async def until_restarted(self, times: int) -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            while self.restarted < times:
                await asyncio.sleep(0)

    def ask(self, **fields: Any) -> asyncio.Task[Any]:
        request_id = f"r{self.asked}"
        asked = self.engine.chat(
            {**BODY, **fields},
            owner="t1",
            adapter=None,
            cache_salt="5a17",
            request_id=request_id,
            context_tokens=UNBOUNDED,
            priority=1,
            usage=Computed(),
        )
        return asyncio.create_task(asked)

    async def in_flight(self, **fields: Any) -> asyncio.Task[Any]:
        before, task = self.asked, self.ask(**fields)
        async with asyncio.timeout(BOUND_SECONDS):
            while self.asked == before and not task.done():
                await asyncio.sleep(0)
        return task

    async def status(self, **fields: Any) -> int:
        self.life.answers.set()
        try:
            await self.ask(**fields)
        except (RequestRefused, EngineRefused) as refusal:
            return refusal.status
        return 200


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.engine.start()
    yield made
    await made.engine.close()


async def test_an_engine_that_dies_is_ended_whole_before_the_next_is_started(world: World) -> None:
    world.life.die()
    await world.until_restarted(1)
    assert world.log == ["start", "closed", "nothing left", 1.0, "start"]
    assert world.engine.is_healthy()
    assert await world.status() == 200


async def test_while_it_is_started_again_the_replica_is_alive_and_not_ready_and_says_so(world: World) -> None:
    world.slow = asyncio.Event()
    world.life.die()
    assert (world.engine.is_healthy(), world.engine.is_alive()) == (False, True)
    await world.until([1.0, "start"])
    assert (world.engine.is_healthy(), world.engine.is_alive()) == (False, True)
    with pytest.raises(RequestRefused) as refused:
        world.engine.require_running()
    assert (refused.value.status, refused.value.code) == (503, "engine_restarting")
    assert await world.status() == 503
    assert world.asked == 0
    await world.engine.require_answer()  # of which nobody need be warned
    world.slow.set()
    await world.until_restarted(1)
    world.engine.require_running()


async def test_starts_that_fail_are_tried_again_after_longer_pauses(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.failing = 8
    world.life.die()
    await world.until_restarted(1)
    assert [entry for entry in world.log if isinstance(entry, float)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert world.engine.is_alive(), "it runs, however often it had to be tried"
    assert {record.message for record in caplog.records} == {"engine ended", "engine start failed", "engine restarted"}
    assert "no memory" not in caplog.text


async def test_after_too_many_failures_in_a_row_it_is_not_alive_but_goes_on_trying(world: World) -> None:
    world.failing = 3
    world.life.die()
    await world.until([4.0, "start"])
    world.slow = asyncio.Event()
    await world.until([8.0, "start"])
    assert not world.engine.is_alive()
    world.slow.set()
    await world.until_restarted(1)
    assert world.engine.is_alive()


@pytest.mark.parametrize(("lived", "pauses"), [(59.0, [1.0, 2.0]), (60.0, [1.0, 1.0])])
async def test_an_engine_that_ends_soon_counts_as_a_failure_and_one_that_ran_for_long_does_not(
    world: World, lived: float, pauses: list[float]
) -> None:
    world.life.die()
    await world.until_restarted(1)
    world.now = world.engine._started_at + lived
    world.life.die()
    await world.until_restarted(2)
    assert [entry for entry in world.log if isinstance(entry, float)] == pauses


async def test_no_engine_is_started_beside_processes_that_do_not_end(world: World) -> None:
    world.life.kept = 2
    world.life.die()
    await world.until(["closed", 60.0])
    assert not world.engine.is_alive()
    await world.until_restarted(1)
    assert world.log == ["start", "closed", 60.0, 60.0, "nothing left", 4.0, "start"]


def test_pauses_are_drawn_from_the_upper_half() -> None:
    assert [POLICY.pause(failures, 0.0) for failures in (1, 2, 3, 50, 10_000)] == [0.5, 1.0, 2.0, 30.0, 30.0]
    assert [POLICY.pause(failures, 1.0) for failures in (1, 2, 3, 50, 10_000)] == [1.0, 2.0, 4.0, 60.0, 60.0]


async def test_a_request_that_was_in_flight_at_two_deaths_is_not_given_to_the_engine_again(world: World) -> None:
    for death in (1, 2):
        poison = await world.in_flight(seed=1)
        world.life.die()
        with pytest.raises(EngineDead):
            await poison
        await world.until_restarted(death)
    before = world.asked
    assert await world.status(seed=1) == 422
    assert world.asked == before
    assert await world.status(seed=2) == 200


async def test_a_stream_counts_as_in_flight_until_it_is_made(world: World) -> None:
    for death in (1, 2):
        stream = await world.in_flight(stream=True)
        assert isinstance(await stream, EventStream)
        world.life.die()
        await world.until_restarted(death)
    assert await world.status(stream=True) == 422


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_is_answered_is_suspect_no_more(world: World, stream: bool) -> None:
    for death in (1, 2, 3):
        innocent = await world.in_flight(stream=stream)
        world.life.die()
        await asyncio.gather(innocent, return_exceptions=True)
        await world.until_restarted(death)
        assert await world.status(stream=stream) == 200
        await asyncio.gather(*world.engine._streams)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_that_hangs_up_before_the_death_does_not_hide_its_request(world: World, stream: bool) -> None:
    for death in (1, 2):
        poison = await world.in_flight(stream=stream)
        if stream:
            await (await poison).aclose()
            await asyncio.gather(*world.engine._streams)
        else:
            poison.cancel()
            await asyncio.gather(poison, return_exceptions=True)
        world.life.die()
        await world.until_restarted(death)
    assert await world.status(stream=stream) == 422


async def test_what_was_given_up_before_the_engine_answered_is_not_counted(world: World) -> None:
    for death in (1, 2):
        given_up = await world.in_flight()
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        world.now += 1
        await world.engine.require_answer()
        world.life.die()
        await world.until_restarted(death)
    assert await world.status() == 200


@pytest.mark.parametrize("refusal", [EngineRefused(400, "no"), AdapterNotLoaded()])
async def test_a_request_that_did_not_reach_the_engine_is_not_counted(world: World, refusal: EngineRefused) -> None:
    for death in (1, 2):
        world.life.refusal = refusal
        assert await world.status() == refusal.status
        world.life.die()
        await world.until_restarted(death)
    assert await world.status() == 200


async def test_a_supervisor_that_fails_ends_the_replicas_liveness_and_says_so(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise KeyError

    world.engine.on_ended = fails
    with caplog.at_level(logging.ERROR):
        world.life.die()
        async with asyncio.timeout(BOUND_SECONDS):
            while world.engine.is_alive():
                await asyncio.sleep(0)
    assert caplog.records[-1].message == "engine not supervised"


async def test_a_stop_waits_for_an_engine_that_is_being_closed(world: World) -> None:
    world.life.die()
    async with asyncio.timeout(BOUND_SECONDS):
        while not world.life.is_closing:
            await asyncio.sleep(0)
    await world.engine.close()
    assert world.log == ["start", "closed"]
    assert world.life.has_ended


async def test_a_stop_ends_an_engine_that_is_being_started(world: World) -> None:
    world.slow = asyncio.Event()
    world.life.die()
    await world.until([1.0, "start"])
    await world.engine.close()
    await world.engine.close()
    assert len(world.lives) == 2
    assert not any(life.is_healthy() for life in world.lives)
    assert world.restarted == 0


async def test_a_dead_engine_whose_closing_fails_is_closed_again_and_then_followed_by_another(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    close, failures = world.life.close, [OSError()]

    async def fails_once() -> None:
        if failures:
            raise failures.pop()
        await close()

    monkeypatch.setattr(world.life, "close", fails_once)
    world.life.die()
    await world.until_restarted(1)
    assert world.log == ["start", 60.0, "closed", "nothing left", 4.0, "start"]
    assert "engine not closed" in [record.message for record in caplog.records]


async def test_a_first_start_that_fails_is_not_tried_again() -> None:
    world = World(failing=1)
    with pytest.raises(RuntimeError, match="no memory"):
        await world.engine.start()
    await world.engine.close()
    assert world.log == ["start"]
    assert not world.engine.is_alive()


async def test_a_stop_that_fails_says_so_to_whoever_stops_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails() -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(world.life, "close", fails)
        with pytest.raises(OSError):
            await world.engine.close()
