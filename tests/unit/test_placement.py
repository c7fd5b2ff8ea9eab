"""Adapters come in when their tenant asks and go out when nobody does; a purge leaves nothing, at whatever moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference import placement as placement_module
from inference.engine_errors import (
    AdapterInUse,
    AdapterLoadFailed,
    AdapterNotLoaded,
    AdapterWithdrawn,
    EngineDead,
    EngineFull,
    EngineRefused,
)
from inference.errors import RequestRefused
from inference.fetching import NotServable
from inference.loaded_adapters import Eviction
from inference.placement import RETRY_AFTER_SECONDS, Placement
from inference.residency import Residency, ResidencyPolicy
from tenancy.tenant_id import TenantId

A, B, C = TenantId("tenant-a"), TenantId("tenant-b"), TenantId("tenant-c")
IDLE_SECONDS = 60.0


async def steps(count: int) -> None:
    """Let everything else go on for ``count`` turns of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass
class StrictEngine:
    """What the engine does to adapters, with its rules: a call may be overtaken wherever the real one waits, an
    adapter in use is not evicted, and one whose files vanish while it is registered would end it for everybody.
    """

    log: list[str]
    capacity: int = 4
    names: dict[str, Path] = field(default_factory=dict)
    leftovers: set[str] = field(default_factory=set)  # registered without a name: an interrupted eviction
    flights: dict[str, list[asyncio.Event]] = field(default_factory=dict)
    owned: dict[str, list[asyncio.Event]] = field(default_factory=dict)  # what tenants ask the base model
    failures: dict[str, Exception] = field(default_factory=dict)
    slots_clear: bool = True
    has_traces: bool = False  # weights in a free slot: of an adapter that was removed and not overwritten
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    polls: int = 0

    def loaded(self) -> tuple[str, ...]:
        return tuple(self.names)

    async def listed(self) -> tuple[str, ...]:
        await steps(1)
        return tuple(sorted({*self.names, *self.leftovers}))

    def inflight(self, digest: str) -> int:
        self.polls += 1
        return len(self.flights.get(digest, ()))

    async def load(self, digest: str, directory: Path) -> None:
        async with self.changing:
            await steps(1)
            if error := self.failures.get(digest):
                raise error
            if digest in self.names:
                return
            self.leftovers.discard(digest)
            if len(self.names) + len(self.leftovers) >= self.capacity:
                raise EngineFull(self.capacity)
            await steps(1)
            self.log.append(f"load {digest}")
            self.names[digest] = directory

    async def evict(self, digest: str, *, scrub: bool) -> Eviction:
        async with self.changing:
            await steps(1)
            if self.flights.get(digest):
                raise AdapterInUse(digest, len(self.flights[digest]))
            was_loaded = digest in self.names or digest in self.leftovers
            if self.names.pop(digest, None) is not None:
                self.leftovers.add(digest)
            await steps(1)
            self.leftovers.discard(digest)
            self.log.append(f"{'scrub' if scrub else 'evict'} {digest}")
            self.has_traces = (self.has_traces or was_loaded) and not scrub
        if scrub:
            self.log.append("reset")
        return Eviction(digest, was_loaded, scrub and self.slots_clear, scrub, tuple(sorted(self.names)))

    async def abort_all(self, digest: str) -> int:
        flights = list(self.flights.get(digest, ()))
        self.log.append(f"abort {digest}")
        for flight in flights:
            flight.set()
        while any(flight in self.flights.get(digest, ()) for flight in flights):
            await steps(1)
        return len(flights)

    def inflight_of(self, owner: str) -> int:
        self.polls += 1
        return len(self.owned.get(owner, ()))

    async def abort_all_of(self, owner: str) -> int:
        flights = list(self.owned.get(owner, ()))
        for flight in flights:
            flight.set()
        while any(flight in self.owned.get(owner, ()) for flight in flights):
            await steps(1)
        return len(flights)

    async def reset_prefix_cache(self) -> bool:
        await steps(1)
        self.log.append("reset")
        return True

    async def answer(self, digest: str | None, turns: int, owner: str = "nobody") -> None:
        """One request in the engine. A name that is missing refuses it, as the engine's own admission does."""
        if digest is not None and digest not in self.names:
            raise AdapterNotLoaded
        aborted = asyncio.Event()
        counted = [self.owned.setdefault(owner, [])]
        if digest is not None:
            counted.append(self.flights.setdefault(digest, []))
        for flights in counted:
            flights.append(aborted)
        try:
            for _ in range(turns):
                await steps(1)
                if aborted.is_set():
                    raise AdapterWithdrawn
        finally:
            for flights in counted:
                flights.remove(aborted)


@dataclass
class StrictFiles:
    """Files by name. Removing those of a registered adapter is what must never happen."""

    log: list[str]
    engine: StrictEngine
    held: set[str] = field(default_factory=set)
    failures: dict[str, Exception] = field(default_factory=dict)
    removable: bool = True
    gate: asyncio.Event | None = None

    async def fetch(self, tenant: TenantId, digest: str) -> Path:
        self.log.append(f"fetch {digest}")
        await steps(2)
        if self.gate is not None:
            await self.gate.wait()
        if error := self.failures.get(digest):
            raise error
        self.held.add(digest)
        return Path("/nowhere") / digest

    def remove(self, digest: str) -> bool:
        assert digest not in self.engine.names, "the files of an adapter that the engine may read are removed"
        self.log.append(f"remove {digest}")
        if self.removable:
            self.held.discard(digest)
        return digest not in self.held


class Bench:
    """A placement of strict parts, and a clock that moves when told to."""

    def __init__(self, max_resident: int = 4, drain_seconds: float = 0.0) -> None:
        self.now = 1000.0
        self.log: list[str] = []
        self.engine = StrictEngine(self.log, capacity=max_resident)
        self.files = StrictFiles(self.log, self.engine)
        self.residency = Residency(
            ResidencyPolicy(max_resident=max_resident, idle_seconds=IDLE_SECONDS), lambda: self.now
        )
        self.placement = Placement(self.engine, self.files, self.residency, drain_seconds, lambda: self.now)

    async def request(self, tenant: TenantId, digest: str, turns: int = 1) -> None:
        async with self.placement.held(tenant, digest):
            await self.engine.answer(digest, turns, tenant)

    def start(self, tenant: TenantId, digest: str, turns: int = 1) -> asyncio.Task[None]:
        return asyncio.create_task(self.request(tenant, digest, turns))

    async def status(self, tenant: TenantId, digest: str) -> int:
        """How a request is answered: 200, or the status of its refusal."""
        return await status_of(self.request(tenant, digest))

    def reserved(self) -> int:
        return sum(self.residency.reservations(digest) for digest in self.residency.resident())

    def in_use_or_room(self) -> None:
        """Between requests: engine, files and places agree, and nothing is held."""
        assert self.reserved() == 0
        assert set(self.engine.names) <= set(self.residency.resident())
        assert not self.engine.leftovers
        assert self.files.held == set(self.engine.names)


async def status_of(work: Awaitable[Any]) -> int:
    try:
        await work
    except (RequestRefused, EngineRefused) as refusal:
        return refusal.status
    return 200


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- loading


async def test_concurrent_requests_share_one_load(bench: Bench) -> None:
    await asyncio.gather(*(bench.request(A, "a1") for _ in range(5)))
    assert bench.log == ["fetch a1", "load a1"]
    bench.in_use_or_room()


async def test_what_is_loaded_is_not_fetched_again(bench: Bench) -> None:
    await bench.request(A, "a1")
    await bench.request(A, "a1")
    assert bench.log == ["fetch a1", "load a1"]


async def test_the_time_of_a_load_is_reported_once(bench: Bench) -> None:
    seconds: list[float] = []
    bench.placement.on_loaded = lambda _tenant, _digest, took: seconds.append(took)
    await bench.request(A, "a1")
    await bench.request(A, "a1")
    assert seconds == [0.0]


async def test_the_least_recently_used_makes_room_and_loses_its_files_after_the_engine_forgot_it() -> None:
    bench = Bench(max_resident=2)
    await bench.request(A, "a1")
    await bench.request(B, "b1")
    await bench.request(A, "a1")
    await bench.request(C, "c1")
    assert bench.log[4:] == ["evict b1", "remove b1", "fetch c1", "load c1"]
    assert set(bench.engine.names) == {"a1", "c1"}
    bench.in_use_or_room()


async def test_an_adapter_that_a_request_holds_is_never_taken_away() -> None:
    bench = Bench(max_resident=2)
    async with bench.placement.held(A, "a1"):
        await bench.request(B, "b1")
        await bench.request(C, "c1")
        assert set(bench.engine.names) == {"a1", "c1"}, "a1 was used least recently, and is held"
        await bench.engine.answer("a1", 1)


async def test_without_a_free_place_a_request_is_told_to_come_again_and_then_is_served() -> None:
    bench = Bench(max_resident=2)
    async with bench.placement.held(A, "a1"), bench.placement.held(B, "b1"):
        with pytest.raises(RequestRefused) as refused:
            await bench.request(C, "c1")
        assert (refused.value.status, refused.value.code) == (503, "replica_busy")
        assert set(bench.engine.names) == {"a1", "b1"}
    assert await bench.status(C, "c1") == 200


async def test_requests_for_more_adapters_than_there_is_room_never_exceed_it() -> None:
    bench = Bench(max_resident=2)
    wanted = [(A, "a1"), (B, "b1"), (C, "c1"), (A, "a2"), (B, "b2")]
    statuses = await asyncio.gather(*(bench.status(tenant, digest) for tenant, digest in wanted))
    assert set(statuses) == {200, 503}
    assert len(bench.engine.names) <= 2
    bench.in_use_or_room()


FAILURES = [
    ("files", NotServable("a file's hash is not the manifest's")),
    ("engine", AdapterLoadFailed("a1", "vLLM did not register it")),
    ("engine", EngineFull(4)),
    ("engine", EngineDead()),
]


@pytest.mark.parametrize(("where", "error"), FAILURES, ids=lambda value: getattr(type(value), "__name__", ""))
async def test_a_load_that_fails_refuses_all_who_waited_for_it_and_leaves_nothing(
    bench: Bench, where: str, error: Exception
) -> None:
    getattr(bench, where).failures["a1"] = error
    assert await asyncio.gather(*(bench.status(A, "a1") for _ in range(3))) == [503, 503, 503]
    assert bench.log.count("fetch a1") == 1
    bench.in_use_or_room()


async def test_a_broken_adapter_is_not_fetched_for_every_request_and_is_tried_again_later(bench: Bench) -> None:
    bench.files.failures["a1"] = NotServable("a file of the adapter is missing")
    assert await bench.status(A, "a1") == 503
    bench.now += RETRY_AFTER_SECONDS - 0.1
    bench.files.failures.clear()
    assert await bench.status(A, "a1") == 503
    assert bench.log.count("fetch a1") == 1
    assert await bench.status(A, "a2") == 200, "the tenant's other adapter is none the worse"
    bench.now += 0.2
    assert await bench.status(A, "a1") == 200
    bench.now += 0.1
    assert await bench.status(A, "a1") == 200


async def test_an_adapter_that_another_tenant_has_loaded_is_not_served_whatever_a_state_says(bench: Bench) -> None:
    await bench.request(A, "a1")
    assert await bench.status(B, "a1") == 404
    bench.now += IDLE_SECONDS
    await bench.placement.unload_idle()
    assert await bench.status(B, "a1") == 404, "and not after it was unloaded either"
    await bench.placement.remove_tenant(A)
    assert "scrub a1" in bench.log, "it is still its owner's to be purged"


# --- idle


async def test_an_adapter_that_nobody_asks_for_is_unloaded_and_one_in_use_is_not(bench: Bench) -> None:
    await bench.request(A, "a1")
    async with bench.placement.held(B, "b1"):
        bench.now += IDLE_SECONDS
        await bench.placement.unload_idle()
        assert bench.log[-2:] == ["evict a1", "remove a1"]
        assert set(bench.engine.names) == {"b1"}
    await bench.placement.unload_idle()
    assert set(bench.engine.names) == {"b1"}, "finishing a request counts as use"


@pytest.mark.parametrize("turns", range(8))
async def test_a_request_that_comes_while_its_adapter_is_unloaded_gets_it_loaded_again(
    bench: Bench, turns: int
) -> None:
    await bench.request(A, "a1")
    bench.now += IDLE_SECONDS
    unloading = asyncio.create_task(bench.placement.unload_idle())
    await steps(turns)
    assert await bench.status(A, "a1") == 200
    await unloading
    bench.in_use_or_room()


@pytest.mark.parametrize("turns", range(6))
async def test_an_eviction_that_is_cut_off_leaves_an_adapter_that_can_be_used_and_evicted(turns: int) -> None:
    bench = Bench(max_resident=1)
    await bench.request(A, "a1")
    cut_off = bench.start(B, "b1")
    await steps(turns)
    cut_off.cancel()
    await asyncio.gather(cut_off, return_exceptions=True)
    await steps(10)  # a load that was begun goes on
    assert await bench.status(A, "a1") == 200
    assert await bench.status(B, "b1") == 200
    bench.in_use_or_room()


async def test_an_eviction_that_the_engine_refuses_costs_one_request_and_no_place() -> None:
    bench = Bench(max_resident=1)
    await bench.request(A, "a1")
    bench.engine.flights["a1"] = [asyncio.Event()]  # a request that the engine has not ended yet
    with pytest.raises(AdapterInUse):
        await bench.request(B, "b1")
    bench.engine.flights.clear()
    assert await bench.status(A, "a1") == 200
    assert await bench.status(B, "b1") == 200


# --- callers that go away


@pytest.mark.parametrize("turns", range(12))
async def test_a_caller_that_goes_away_leaves_no_hold_and_the_others_are_served(bench: Bench, turns: int) -> None:
    gone, stays = bench.start(A, "a1"), bench.start(A, "a1")
    await steps(turns)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await stays
    bench.in_use_or_room()
    assert bench.log == ["fetch a1", "load a1"]


async def test_an_answer_that_fails_leaves_no_hold(bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError):
        async with bench.placement.held(A, "a1"):
            raise ZeroDivisionError
    bench.in_use_or_room()


async def test_a_load_whose_callers_have_all_gone_is_not_taken_for_an_adapter_that_nobody_needs() -> None:
    bench = Bench(max_resident=1)
    bench.files.gate = asyncio.Event()
    caller = bench.start(A, "a1")
    await steps(4)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    other = asyncio.create_task(bench.status(B, "b1"))
    await steps(4)
    bench.files.gate.set()
    assert await other == 503, "the only place is taken by what is being loaded"
    await steps(10)
    bench.in_use_or_room()
    assert (await bench.placement.remove_tenant(A)).evicted == ("a1",)
    assert bench.files.held == set()


# --- purge and retirement


def nothing_left(bench: Bench, prefix: str) -> None:
    """Nothing of the tenant whose digests start with ``prefix`` is anywhere."""
    everywhere = {*bench.engine.names, *bench.engine.leftovers, *bench.files.held, *bench.residency.resident()}
    assert not {digest for digest in everywhere if digest.startswith(prefix)}


async def test_a_purge_removes_the_tenants_adapters_in_the_safe_order_and_no_others(bench: Bench) -> None:
    await bench.request(A, "a1")
    await bench.request(A, "a2")
    await bench.request(B, "b1")
    running = bench.start(A, "a1", turns=100)
    await steps(3)
    bench.log.clear()
    removal = await bench.placement.remove_tenant(A)
    assert bench.log == [
        *("abort a1", "scrub a1", "reset"),
        *("abort a2", "scrub a2", "reset"),
        *("remove a1", "remove a2"),
    ]
    assert await status_of(running) == 503
    assert (removal.evicted, removal.remaining, removal.requests_aborted) == (("a1", "a2"), ("b1",), 1)
    assert removal.slots_overwritten
    assert removal.prefix_cache_reset
    assert removal.local_files_deleted
    nothing_left(bench, "a")
    assert await bench.status(B, "b1") == 200


async def test_after_a_purge_nothing_of_the_tenant_is_loaded_again(bench: Bench) -> None:
    await bench.request(A, "a1")
    await bench.placement.remove_tenant(A)
    bench.log.clear()
    assert await bench.status(A, "a1") == 403
    assert await bench.status(A, "a2") == 403
    assert bench.log == []


@pytest.mark.parametrize("is_loaded", [False, True])
@pytest.mark.parametrize("turns", range(16))
async def test_a_request_at_any_moment_of_a_purge_is_answered_before_it_or_not_at_all(
    bench: Bench, turns: int, is_loaded: bool
) -> None:
    if is_loaded:
        await bench.request(A, "a1")
    request = bench.start(A, "a1", turns=3)
    await steps(turns)
    removal = await bench.placement.remove_tenant(A)
    nothing_left(bench, "a")
    assert removal.remaining == ()
    assert await status_of(request) in (200, 403, 503)
    await steps(5)
    nothing_left(bench, "a")
    assert bench.reserved() == 0


@pytest.mark.parametrize("turns", range(16))
async def test_a_request_that_begins_at_any_moment_of_a_running_purge_gets_nothing_loaded(
    bench: Bench, turns: int
) -> None:
    await bench.request(A, "a1")
    await bench.request(A, "a2")
    purge = asyncio.create_task(bench.placement.remove_tenant(A))
    await steps(turns + 1)
    bench.log.clear()
    assert list(await asyncio.gather(bench.status(A, "a1"), bench.status(A, "a3"))) == [403, 403]
    await purge
    assert not [entry for entry in bench.log if entry.startswith(("fetch", "load"))]
    nothing_left(bench, "a")


@pytest.mark.parametrize("turns", range(16))
async def test_a_request_that_makes_room_while_its_tenant_is_purged_gets_nothing_loaded(turns: int) -> None:
    bench = Bench(max_resident=1)
    await bench.request(B, "b1")
    request = bench.start(A, "a1")
    await steps(turns)
    await bench.placement.remove_tenant(A)
    nothing_left(bench, "a")
    assert await status_of(request) in (200, 403, 503)
    await steps(5)
    nothing_left(bench, "a")


async def test_a_purge_during_the_fetch_waits_for_it_and_the_engine_never_sees_the_adapter(bench: Bench) -> None:
    bench.files.gate = asyncio.Event()
    request = asyncio.create_task(bench.status(A, "a1"))
    await steps(4)
    purge = asyncio.create_task(bench.placement.remove_tenant(A))
    await steps(10)
    assert not purge.done(), "what is on its way to the disk is waited for"
    bench.files.gate.set()
    removal = await purge
    assert await request == 503
    assert "load a1" not in bench.log
    assert removal.local_files_deleted
    nothing_left(bench, "a")


async def test_other_tenants_are_served_while_a_purge_waits(bench: Bench) -> None:
    await bench.request(B, "b1")
    bench.files.gate = asyncio.Event()
    request = asyncio.create_task(bench.status(A, "a1"))
    await steps(4)
    purge = asyncio.create_task(bench.placement.remove_tenant(A))
    await steps(4)
    assert await bench.status(B, "b1") == 200
    bench.files.gate.set()
    await asyncio.gather(request, purge)


@pytest.mark.parametrize(("turns", "aborted"), [(3, 0), (10_000, 1)])
async def test_running_requests_get_the_drain_time_and_are_then_ended(
    monkeypatch: pytest.MonkeyPatch, turns: int, aborted: int
) -> None:
    monkeypatch.setattr(placement_module, "DRAIN_POLL_SECONDS", 0.001)
    bench = Bench(drain_seconds=0.005)
    await bench.request(A, "a1")
    running = bench.start(A, "a1", turns=turns)
    await steps(2)
    bench.engine.polls = 0
    removal = await bench.placement.remove_tenant(A)
    assert removal.requests_aborted == aborted
    assert bench.engine.polls <= 6, "the drain is bounded"
    assert await status_of(running) == (503 if aborted else 200)
    nothing_left(bench, "a")


@pytest.mark.parametrize("has_adapter", [True, False])
async def test_requests_to_the_base_model_are_drained_and_ended_too(
    monkeypatch: pytest.MonkeyPatch, has_adapter: bool
) -> None:
    monkeypatch.setattr(placement_module, "DRAIN_POLL_SECONDS", 0.001)
    bench = Bench(drain_seconds=0.005)
    if has_adapter:
        await bench.request(A, "a1")
    short = asyncio.create_task(status_of(bench.engine.answer(None, 3, A)))
    long = asyncio.create_task(status_of(bench.engine.answer(None, 1_000_000, A)))
    await steps(1)
    removal = await bench.placement.remove_tenant(A)
    assert (await short, await long) == (200, 503)
    assert removal.requests_aborted == 1
    assert bench.engine.inflight_of(A) == 0


async def test_a_purge_fails_no_request_of_any_other_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of three tenants, by adapters and by the base model, before, during and after the purge of one."""
    monkeypatch.setattr(placement_module, "DRAIN_POLL_SECONDS", 0.001)
    bench = Bench(max_resident=4, drain_seconds=0.003)

    async def streams(tenant: TenantId, digest: str) -> list[int]:
        statuses = []
        for turns in (1, 40, 7, 200, 3) * 4:
            by_adapter = asyncio.create_task(status_of(bench.request(tenant, digest, turns)))
            by_base = asyncio.create_task(status_of(bench.engine.answer(None, turns, tenant)))
            statuses += [await by_adapter, await by_base]
        return statuses

    others = [asyncio.create_task(streams(B, "b1")), asyncio.create_task(streams(C, "c1"))]
    ours = [bench.start(A, "a1", 1_000_000), bench.start(A, "a2", 2), bench.start(A, "a1", 50)]
    base = asyncio.create_task(status_of(bench.engine.answer(None, 1_000_000, A)))
    await steps(30)
    removal = await bench.placement.remove_tenant(A)
    assert removal.is_complete
    assert {status for done in await asyncio.gather(*others) for status in done} == {200}
    ended = await asyncio.gather(*map(status_of, ours), base)
    assert ended[0] == ended[3] == 503
    assert removal.requests_aborted >= 2
    nothing_left(bench, "a")


async def test_an_adapter_that_was_unloaded_before_is_overwritten_at_the_purge(bench: Bench) -> None:
    await bench.request(A, "a1")
    bench.now += IDLE_SECONDS
    await bench.placement.unload_idle()
    assert bench.engine.has_traces, "making room does not overwrite: it would stop every tenant's decoding"
    removal = await bench.placement.remove_tenant(A)
    assert not bench.engine.has_traces
    assert removal.evicted == ()
    assert removal.slots_overwritten


async def test_one_overwriting_is_enough_for_all_that_were_unloaded_before(bench: Bench) -> None:
    for digest in ("a1", "a2", "a3"):
        await bench.request(A, digest)
    bench.now += IDLE_SECONDS
    await bench.placement.unload_idle()
    bench.log.clear()
    await bench.placement.remove_tenant(A)
    assert [entry for entry in bench.log if entry.startswith("scrub")] == ["scrub a1"]
    assert not bench.engine.has_traces


async def test_the_prefix_cache_is_reset_also_for_a_tenant_that_only_used_the_base_model(bench: Bench) -> None:
    await bench.request(B, "b1")
    bench.log.clear()
    removal = await bench.placement.remove_tenant(A)
    assert bench.log == ["reset"], "the tenant's prompts lie in cached blocks too"
    assert removal.prefix_cache_reset
    assert (removal.evicted, removal.remaining) == ((), ("b1",))


async def test_a_second_purge_finds_nothing_and_says_so(bench: Bench) -> None:
    await bench.request(A, "a1")
    await bench.placement.remove_tenant(A)
    removal = await bench.placement.remove_tenant(A)
    assert (removal.evicted, removal.requests_aborted) == ((), 0)
    assert removal.local_files_deleted
    assert removal.slots_overwritten


@pytest.mark.parametrize("part", ["files", "slots"])
async def test_a_purge_that_left_something_does_not_claim_success_the_next_time_either(bench: Bench, part: str) -> None:
    await bench.request(A, "a1")
    bench.files.removable = part != "files"
    bench.engine.slots_clear = part != "slots"
    for _ in range(2):
        removal = await bench.placement.remove_tenant(A)
        assert (removal.local_files_deleted, removal.slots_overwritten) == (part != "files", part != "slots")
    bench.files.removable = bench.engine.slots_clear = True
    removal = await bench.placement.remove_tenant(A)
    assert removal.local_files_deleted
    assert removal.slots_overwritten
    nothing_left(bench, "a")


async def test_a_purge_that_is_cut_off_anywhere_is_finished_by_the_next() -> None:
    for turns in range(30):
        bench = Bench()
        for digest in ("a1", "a2"):
            await bench.request(A, digest)
        running = bench.start(A, "a1", turns=50)
        await steps(2)
        purge = asyncio.create_task(bench.placement.remove_tenant(A))
        await steps(turns + 1)
        purge.cancel()
        await asyncio.gather(purge, return_exceptions=True)
        assert await bench.status(A, "a1") == 403
        await bench.placement.remove_tenant(A)
        nothing_left(bench, "a")
        await asyncio.gather(running, return_exceptions=True)


async def test_a_retired_adapter_is_removed_and_the_tenants_others_stay(bench: Bench) -> None:
    await bench.request(A, "a1")
    await bench.request(A, "a2")
    bench.log.clear()
    removal = await bench.placement.remove_adapter(A, "a1")
    assert bench.log == ["abort a1", "scrub a1", "reset", "remove a1"]
    assert (removal.evicted, removal.remaining) == (("a1",), ("a2",))
    assert await bench.status(A, "a2") == 200


async def test_an_adapter_of_another_tenant_is_not_removed(bench: Bench) -> None:
    await bench.request(B, "b1")
    bench.log.clear()
    removal = await bench.placement.remove_adapter(A, "b1")
    assert removal.evicted == ()
    assert bench.log == []
    assert await bench.status(B, "b1") == 200


@pytest.mark.parametrize("turns", range(12))
async def test_a_request_with_an_older_view_does_not_bring_a_retired_adapter_back(bench: Bench, turns: int) -> None:
    await bench.request(A, "a1")
    retirement = asyncio.create_task(bench.placement.remove_adapter(A, "a1"))
    await steps(turns + 1)
    assert await bench.status(A, "a1") in (404, 503)
    await retirement
    assert await bench.status(A, "a1") in (404, 503)
    nothing_left(bench, "a")


# --- whatever happens

digests = st.sampled_from(["a1", "a2", "b1", "b2", "c1"])
action = st.one_of(
    st.tuples(st.just("ask"), digests),
    st.tuples(st.just("ask"), digests),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("break"), digests),
    st.tuples(st.just("mend"), digests),
    st.tuples(st.just("idle"), st.just(0)),
    st.tuples(st.just("retire"), digests),
    st.tuples(st.just("purge"), st.sampled_from("ab")),
)
OWNERS = {"a": A, "b": B, "c": C}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(action, st.integers(0, 6)), max_size=25))
def test_whatever_happens_nothing_leaks_and_nothing_of_the_purged_stays(
    history: list[tuple[tuple[str, Any], int]],
) -> None:
    asyncio.run(_lived(history))


async def _lived(history: list[tuple[tuple[str, Any], int]]) -> None:
    bench = Bench(max_resident=2)
    requests: list[asyncio.Task[Any]] = []
    others: list[asyncio.Task[Any]] = []
    purged: set[str] = set()
    retired: set[str] = set()
    placement = bench.placement
    for (kind, argument), turns in history:
        bench.now += RETRY_AFTER_SECONDS / 2
        if kind == "ask":
            requests.append(asyncio.create_task(bench.status(OWNERS[argument[0]], argument)))
        elif kind == "cancel" and requests:
            requests[argument % len(requests)].cancel()
        elif kind == "break":
            bench.engine.failures[argument] = AdapterLoadFailed(argument, "as asked")
        elif kind == "mend":
            bench.engine.failures.pop(argument, None)
        elif kind == "idle":
            bench.now += IDLE_SECONDS
            others.append(asyncio.create_task(placement.unload_idle()))
        elif kind == "retire":
            retired.add(argument)
            others.append(asyncio.create_task(placement.remove_adapter(OWNERS[argument[0]], argument)))
        elif kind == "purge":
            purged.add(argument)
            others.append(asyncio.create_task(placement.remove_tenant(OWNERS[argument])))
        assert len(bench.engine.names) <= 2
        await steps(turns)
    answered = await asyncio.gather(*requests, return_exceptions=True)
    failures = [result for result in answered if not isinstance(result, int | asyncio.CancelledError)]
    assert not failures, failures
    await asyncio.gather(*others)
    await _quiet(lambda: bench.reserved() == 0)
    bench.in_use_or_room()
    for prefix in purged:
        nothing_left(bench, prefix)
    # Every place can still be had: the replica has not become smaller.
    bench.engine.failures.clear()
    bench.now += RETRY_AFTER_SECONDS + IDLE_SECONDS
    for fresh in ("c8", "c9"):
        assert await bench.status(C, fresh) == 200
    for digest in ("a1", "b1", "c1"):
        expected = 403 if digest[0] in purged else 404 if digest in retired else 200
        assert await bench.status(OWNERS[digest[0]], digest) == expected


async def _quiet(is_quiet: Callable[[], bool]) -> None:
    for _ in range(200):
        if is_quiet():
            return
        await steps(1)
    raise AssertionError("something is still held")
