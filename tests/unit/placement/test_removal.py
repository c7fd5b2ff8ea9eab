"""A purge or a retirement leaves nothing, at whatever moment, and fails nobody else's request."""

from __future__ import annotations

import asyncio

import pytest

from inference.adapters import placement as placement_module
from tenancy.tenant_id import TenantId
from tests.unit.placement.strict_parts import IDLE_SECONDS, A, B, Bench, C, nothing_left, status_of, steps


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
