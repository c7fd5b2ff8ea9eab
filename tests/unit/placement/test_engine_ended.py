"""When the engine has died: what it held is loaded again on demand, and a purge ends correctly."""

from __future__ import annotations

import asyncio

import pytest

from inference.adapters.residency import NoRoom
from inference.engine.errors import EngineDead
from inference.engine.loaded_adapters import Eviction
from tenancy.errors import Transient
from tests.unit.placement.strict_parts import A, B, Bench, nothing_left, status_of, steps


def die(bench: Bench) -> None:
    """The engine is dead: whatever waits for it ends, and every call fails."""

    async def dead(*_: object, **__: object) -> Eviction:
        await steps(1)
        raise EngineDead

    for call in ("load", "evict", "listed", "reset_prefix_cache"):
        setattr(bench.engine, call, dead)
    bench.engine.names.clear()
    bench.engine.leftovers.clear()
    for flights in (*bench.engine.flights.values(), *bench.engine.owned.values()):
        for flight in flights:
            flight.set()


def restart(bench: Bench) -> None:
    """Nothing of the dead one is left, and another runs."""
    bench.placement.engine_ended()
    for call in ("load", "evict", "listed", "reset_prefix_cache"):
        delattr(bench.engine, call)


async def test_adapters_are_loaded_again_on_demand_and_those_that_nobody_asks_for_leave_nothing(bench: Bench) -> None:
    for tenant, digest in ((A, "a1"), (A, "a2"), (B, "b1")):
        await bench.request(tenant, digest)
    die(bench)
    assert await bench.status(A, "a1") == 503
    restart(bench)
    bench.in_use_or_room()
    assert bench.residency.resident() == ()
    assert bench.placement._owners == {}
    assert await bench.status(A, "a1") == 200, "at once: the adapter was not at fault"
    assert await bench.status(B, "b1") == 200
    assert bench.engine.loaded() == ("a1", "b1")
    bench.in_use_or_room()


@pytest.mark.parametrize("turns", range(12))
async def test_a_request_at_any_moment_of_a_death_is_answered_or_refused_and_leaves_nothing(
    bench: Bench, turns: int
) -> None:
    await bench.request(A, "a2")
    request = bench.start(A, "a1", turns=3)
    await steps(turns)
    die(bench)
    await steps(2)
    restart(bench)
    assert await status_of(request) in (200, 503)
    await steps(5)
    assert bench.is_quiet()
    assert await bench.status(A, "a1") == 200
    removal = await bench.placement.remove_tenant(A)
    assert removal.is_complete
    nothing_left(bench, "a")
    bench.in_use_or_room()


@pytest.mark.parametrize("turns", range(16))
async def test_a_purge_that_the_engine_dies_in_is_tried_again_and_then_complete(bench: Bench, turns: int) -> None:
    await bench.request(A, "a1")
    await bench.request(A, "a2")
    await bench.request(B, "b1")
    running = bench.start(A, "a1", turns=50)
    await steps(3)
    purge = asyncio.create_task(bench.placement.remove_tenant(A))
    await steps(turns)
    die(bench)
    try:
        removal = await purge
        assert removal.is_complete, "it was over before"
    except Transient:
        with pytest.raises(Transient):
            await bench.placement.remove_tenant(A)  # nothing is said of an engine that is being started
    await asyncio.gather(running, return_exceptions=True)
    restart(bench)
    again = await bench.placement.remove_tenant(A)
    assert (again.evicted, again.remaining, again.is_complete) == ((), (), True)
    nothing_left(bench, "a")
    assert not [digest for digest in bench.placement._owners if digest.startswith("a")]
    assert await bench.status(B, "b1") == 200
    bench.in_use_or_room()


@pytest.mark.parametrize("turns", range(10))
async def test_a_retirement_that_the_engine_dies_in_is_tried_again_and_then_complete(bench: Bench, turns: int) -> None:
    await bench.request(A, "a1")
    retirement = asyncio.create_task(bench.placement.remove_adapter(A, "a1"))
    await steps(turns)
    die(bench)
    await asyncio.gather(retirement, return_exceptions=True)
    error = retirement.exception()
    assert error is None or isinstance(error, Transient)
    restart(bench)
    assert (await bench.placement.remove_adapter(A, "a1")).is_complete
    nothing_left(bench, "a1")
    assert await bench.status(A, "a2") == 200


async def test_a_replica_without_anything_of_the_tenant_says_nothing_while_its_engine_is_started(bench: Bench) -> None:
    die(bench)
    for removing in (bench.placement.remove_tenant(A), bench.placement.remove_adapter(A, "a1")):
        with pytest.raises(Transient):
            await removing
    restart(bench)
    assert (await bench.placement.remove_tenant(A)).remaining == ()


async def test_making_room_in_a_dead_engine_costs_no_place(bench: Bench) -> None:
    for number in range(4):
        await bench.request(A, f"a{number}")
    die(bench)
    assert await bench.status(B, "b1") == 503
    restart(bench)
    for number in range(4):
        assert await bench.status(B, f"b{number}") == 200
    with pytest.raises(NoRoom):
        bench.residency.begin_eviction("b0")
        bench.residency.reserve("x")
        bench.residency.reserve("y")


async def test_files_that_cannot_be_removed_keep_the_adapters_owner(bench: Bench) -> None:
    await bench.request(A, "a1")
    die(bench)
    bench.files.removable = False
    restart(bench)
    assert not (await bench.placement.remove_tenant(A)).local_files_deleted
    bench.files.removable = True
    assert (await bench.placement.remove_tenant(A)).is_complete
    nothing_left(bench, "a")
