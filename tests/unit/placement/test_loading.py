"""Adapters come in when their tenant asks and go out when nobody does, whoever goes away meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from inference.adapters.adapter_files import NotServable
from inference.adapters.placement import FETCHES, RETRY_AFTER_SECONDS
from inference.engine.errors import AdapterInUse, AdapterLoadFailed, EngineDead, EngineFull
from inference.errors import RequestRefused
from tenancy.tenant_id import TenantId
from tests.unit.placement.strict_parts import IDLE_SECONDS, A, B, Bench, C, nothing_left, steps

OTHERS = [TenantId(f"other-{number}") for number in range(2 * FETCHES)]


def started_by_all(bench: Bench, tenants: list[TenantId]) -> list[asyncio.Task[None]]:
    """One request of each tenant, by an adapter of its own."""
    return [bench.start(tenant, f"of-{tenant}") for tenant in tenants]


async def test_concurrent_requests_share_one_load(bench: Bench) -> None:
    await asyncio.gather(*(bench.request(A, "a1") for _ in range(5)))
    assert bench.log == ["fetch a1", "load a1"]
    bench.in_use_or_room()


async def test_only_a_few_adapters_are_in_memory_unchecked_and_one_slow_fetch_does_not_hold_up_the_others(
    bench: Bench,
) -> None:
    bench.files.gate = asyncio.Event()
    slow = bench.start(A, "a1")
    await steps(10)
    gate, bench.files.gate = bench.files.gate, None
    await bench.request(B, "b1")
    await bench.request(C, "c1")
    assert not slow.done()
    gate.set()
    await slow

    bench = Bench(max_resident=2 * FETCHES)
    bench.files.gate = asyncio.Event()
    requests = started_by_all(bench, OTHERS)
    await steps(20)
    assert bench.log == [f"fetch of-{tenant}" for tenant in OTHERS[:FETCHES]]
    bench.files.gate.set()
    await asyncio.gather(*requests)
    assert len(bench.engine.names) == 2 * FETCHES
    bench.in_use_or_room()


async def test_one_tenants_slow_fetches_take_one_turn_and_the_tenants_take_turns() -> None:
    bench = Bench(max_resident=3 * FETCHES)
    gate = bench.files.gate = asyncio.Event()
    slow = [bench.start(A, f"a{number}") for number in range(2 * FETCHES)]
    await steps(20)
    assert bench.log == ["fetch a0"]
    bench.files.gate = None
    await asyncio.gather(bench.request(B, "b1"), bench.request(C, "c1"))
    assert "fetch a1" not in bench.log
    bench.files.gate = gate
    gate.set()
    await asyncio.gather(*slow)
    assert [line for line in bench.log if line.startswith("fetch a")] == [f"fetch a{n}" for n in range(2 * FETCHES)]
    assert len(bench.placement._own_fetch) == 0, "of tenants that fetch nothing nothing is kept"
    bench.in_use_or_room()


async def test_a_request_waits_for_its_adapter_up_to_a_bound_and_the_load_goes_on(bench: Bench) -> None:
    bench.placement.load_wait_seconds = 0.01
    bench.files.gate = asyncio.Event()
    with pytest.raises(RequestRefused) as refused:
        await bench.request(A, "a1")
    assert (refused.value.status, refused.value.code) == (503, "adapter_unavailable")
    assert bench.residency.reservations("a1") == 1, "the load's own hold"
    bench.files.gate.set()
    bench.placement.load_wait_seconds = 60.0
    await bench.request(A, "a1")
    assert bench.log == ["fetch a1", "load a1"]
    bench.in_use_or_room()


async def test_a_request_does_not_wait_without_end_for_what_must_make_room_either() -> None:
    bench = Bench(max_resident=1)
    await bench.request(A, "a1")
    bench.placement.load_wait_seconds = 0.01
    async with bench.engine.changing:
        assert await bench.status(B, "b1") == 503
    await steps(10)
    bench.placement.load_wait_seconds = 60.0
    assert await bench.status(B, "b1") == 200
    bench.in_use_or_room()


async def test_what_waits_for_its_turn_when_its_tenant_is_purged_is_not_fetched_any_more() -> None:
    bench = Bench(max_resident=2 * FETCHES)
    bench.files.gate = asyncio.Event()
    others = started_by_all(bench, OTHERS[:FETCHES])
    await steps(20)
    waiting = asyncio.create_task(bench.status(A, "a1"))
    await steps(20)
    removal = asyncio.create_task(bench.placement.remove_tenant(A))
    await steps(20)
    bench.files.gate.set()
    assert (await removal).is_complete
    assert await waiting == 503
    await asyncio.gather(*others)
    assert "fetch a1" not in bench.log
    nothing_left(bench, "a")


@pytest.mark.parametrize("waited", [0, 1, 20], ids=["before its first step", "at once", "for long"])
@pytest.mark.parametrize("how", ["purged", "retired"])
async def test_a_removal_does_not_wait_for_a_slot_that_nobody_will_use(how: str, waited: int) -> None:
    bench = Bench(max_resident=2 * FETCHES)
    bench.files.gate = asyncio.Event()
    others = started_by_all(bench, OTHERS[:FETCHES])
    await steps(20)
    callers = [asyncio.create_task(bench.status(A, "a1")) for _ in range(2)]
    await steps(waited)
    removal = asyncio.create_task(
        bench.placement.remove_tenant(A) if how == "purged" else bench.placement.remove_adapter(A, "a1")
    )
    await steps(30)
    assert removal.done(), "no slot is free, and none is needed"
    assert (await removal).is_complete
    assert await asyncio.gather(*callers) == [503, 503]
    bench.files.gate.set()
    await asyncio.gather(*others)
    assert not {"fetch a1", "load a1"} & set(bench.log)
    nothing_left(bench, "a")
    bench.in_use_or_room()


async def test_what_is_retired_while_it_is_fetched_does_not_reach_the_engine(bench: Bench) -> None:
    bench.files.gate = asyncio.Event()
    waiting = asyncio.create_task(bench.status(A, "a1"))
    await steps(5)
    removal = asyncio.create_task(bench.placement.remove_adapter(A, "a1"))
    await steps(5)
    bench.files.gate.set()
    assert (await removal).is_complete
    assert await waiting == 503
    assert "load a1" not in bench.log
    nothing_left(bench, "a")


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
    ("files", NotServable("a file's hash does not match the manifest")),
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
