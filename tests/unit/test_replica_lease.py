"""The replica's lease: without it no adapter is served, and a purge can end it for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from inference.replica.lease import KEPT_ENDS, ReplicaLease
from inference.wiring import Replica
from schemas.base.contract import read_tolerant
from schemas.bus.events import ReplicaRegistered
from schemas.objects import object_keys
from schemas.objects.replicas import ReplicaAcknowledgement, ReplicaRecord
from tenancy.bootstrap import assemble
from tenancy.bus import RecordingPublisher
from tenancy.errors import LeaseLost, StoreUnavailable, Transient
from tenancy.lifecycle.replicas import Replicas, holds_lease
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import StoredObject

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
BASE_DIGEST = "d" * 64
ANSWER_SECONDS = 300.0


class Objects(MemoryObjectStore):
    """An object store that can be out of reach, and can lose the answer of a write that it made."""

    is_down = False
    loses_answers = 0

    async def put(self, key: str, body: bytes, **conditions: Any) -> str:
        if self.is_down:
            raise StoreUnavailable("the object store did not answer")
        etag = await super().put(key, body, **conditions)
        if self.loses_answers:
            self.loses_answers -= 1
            raise StoreUnavailable("the object store did not answer")
        return etag


class Bench:
    """A replica's lease, and the purge's view of it."""

    def __init__(self) -> None:
        self.now = NOW
        self.objects = Objects()
        self.publisher = RecordingPublisher()
        self.tenancy = assemble(
            self.objects, KeyFileMasterKey(bytes(32)), self.publisher, "/sanolith/inference", lambda: self.now
        )
        self.lease = self.started()
        self.replicas = Replicas(self.objects, lambda: self.now, ANSWER_SECONDS)

    def started(self) -> ReplicaLease:
        """A process of this replica that starts now."""
        return ReplicaLease(self.tenancy, "replica-0", BASE_DIGEST, 30.0, self.now)

    async def ended(self, found: str | None = None) -> ReplicaAcknowledgement | None:
        return await self.replicas.ended("replica-0", "p1", NOW, found)

    def lives(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def _record(bench: Bench) -> ReplicaRecord:
    return read_tolerant(ReplicaRecord, (await bench.objects.get(object_keys.replica_key("replica-0"))).body)


async def test_registering_writes_the_lease_before_it_says_so(bench: Bench) -> None:
    await bench.lease.register()
    assert (await _record(bench)).expires_at == NOW + timedelta(seconds=30)
    announced = bench.publisher.events[-1]
    assert announced.subject == "replica-0"
    assert announced.data == ReplicaRegistered(replica_id="replica-0", base_model_digest=BASE_DIGEST)


async def test_a_replica_that_could_not_register_holds_no_lease_and_is_not_announced(bench: Bench) -> None:
    bench.objects.is_down = True
    with pytest.raises(Transient):
        await bench.lease.register()
    assert not bench.lease.is_held()
    assert bench.publisher.events == []


async def test_a_lease_is_held_until_its_end_and_renewed_from_the_moment_of_renewal(bench: Bench) -> None:
    assert not bench.lease.is_held()
    await bench.lease.renew()
    bench.now += timedelta(seconds=29)
    assert bench.lease.is_held()
    await bench.lease.renew()
    bench.now += timedelta(seconds=29)
    assert bench.lease.is_held()
    bench.now += timedelta(seconds=1)
    assert not bench.lease.is_held()


async def test_a_renewal_that_failed_extends_nothing(bench: Bench) -> None:
    await bench.lease.renew()
    bench.now += timedelta(seconds=20)
    bench.objects.is_down = True
    with pytest.raises(Transient):
        await bench.lease.renew()
    bench.now += timedelta(seconds=10)
    assert not bench.lease.is_held()


async def test_the_record_never_lives_longer_than_the_replica_believes(bench: Bench) -> None:
    put = bench.objects.put

    async def slow(key: str, body: bytes, **conditions: Any) -> str:
        bench.now += timedelta(seconds=12)
        return await put(key, body, **conditions)

    bench.objects.put = slow  # type: ignore[method-assign]
    await bench.lease.renew()
    assert bench.lease.expires_at == (await _record(bench)).expires_at == NOW + timedelta(seconds=30)


# --- a purge that gets no answer


async def test_a_live_replica_is_waited_for_until_its_time_to_answer_is_over_and_then_cut_off(bench: Bench) -> None:
    await bench.lease.register()
    for _ in range(14):
        bench.lives(20)
        await bench.lease.renew()
        assert await bench.ended() is None
        assert bench.lease.is_held()
    bench.lives(20)  # 300 s
    assert await bench.ended() is None, "cut off, but its lease runs on"
    fenced = await _record(bench)
    assert (fenced.fenced_by, fenced.fenced_at) == ("p1", bench.now)
    with pytest.raises(LeaseLost):
        await bench.lease.renew()
    assert not bench.lease.is_held(), "it stops at once when it is told"
    assert bench.lease.is_fenced
    bench.lives(10)
    assert await bench.ended() is None, "until its end by a clock that may be behind"
    bench.lives(5)
    expired = await bench.ended()
    assert expired is not None
    assert (expired.outcome, expired.lease_ended_at, expired.fenced_at) == (
        "expired",
        fenced.expires_at,
        fenced.fenced_at,
    )
    assert expired.at >= fenced.expires_at
    assert [replica async for replica in bench.replicas.answerable()] == ["replica-0"], "every later purge names it"
    assert await bench.ended() is not None, "and none waits for it"


async def test_a_replica_that_was_cut_off_is_neither_ready_nor_alive_so_that_it_is_started_anew(bench: Bench) -> None:
    await bench.lease.register()
    well: Any = SimpleNamespace(is_healthy=lambda: True, is_alive=lambda: True, is_ready=AsyncMock(return_value=True))
    replica = Replica.__new__(Replica)
    replica.engine, replica.consumer, replica.lease = well, well, bench.lease
    assert (replica.is_alive(), await replica.is_ready()) == (True, True)
    bench.lives(40)
    assert (replica.is_alive(), await replica.is_ready()) == (True, False), "a lease that ran out can be renewed"
    await bench.ended()
    with pytest.raises(LeaseLost):
        await bench.lease.renew()
    assert (replica.is_alive(), await replica.is_ready()) == (False, False)


async def test_a_cut_off_replica_that_hears_nothing_stops_by_itself_when_its_lease_ends(bench: Bench) -> None:
    await bench.lease.register()
    bench.lives(29)
    await bench.lease.renew()
    bench.now = NOW + timedelta(seconds=ANSWER_SECONDS - 1)
    await bench.lease.renew()
    bench.lives(1)
    await bench.ended()
    bench.objects.is_down = True
    for _ in range(3):
        with pytest.raises(Transient):
            await bench.lease.renew()
        assert bench.lease.is_held()
        bench.lives(9)
    bench.lives(2)
    assert not bench.lease.is_held()
    bench.objects.is_down = False
    with pytest.raises(LeaseLost):
        await bench.lease.renew()


async def test_a_replica_whose_lease_ran_out_cannot_come_back_past_a_purge(bench: Bench) -> None:
    """It lost touch with the bucket, the purge went on without it, and its memory may hold the tenant's adapter."""
    await bench.lease.register()
    bench.lives(40)
    expired = await bench.ended()
    assert expired is not None
    assert expired.fenced_at == bench.now
    with pytest.raises(LeaseLost):
        await bench.lease.renew()
    assert not bench.lease.is_held()


async def test_a_replica_whose_lease_ran_out_renews_where_no_purge_passed_it(bench: Bench) -> None:
    await bench.lease.register()
    bench.lives(40)
    assert not bench.lease.is_held()
    await bench.lease.renew()
    assert bench.lease.is_held()


async def test_a_replica_that_was_started_anew_gets_its_time_to_answer_anew(bench: Bench) -> None:
    await bench.lease.register()
    bench.lives(ANSWER_SECONDS)
    await bench.ended()
    again = bench.started()
    await again.register()
    assert await bench.ended() is None
    await again.renew()
    assert again.is_held(), "it holds nothing of anybody yet, and reads the topics from where it was"
    bench.lives(20)
    await again.renew()
    assert await bench.ended() is None


async def test_a_lost_answer_does_not_look_like_a_fence(bench: Bench) -> None:
    await bench.lease.register()
    bench.lives(10)
    bench.objects.loses_answers = 1
    with pytest.raises(Transient):
        await bench.lease.renew()
    bench.lives(10)
    await bench.lease.renew()
    assert not bench.lease.is_fenced
    assert (await _record(bench)).expires_at == bench.lease.expires_at == bench.now + timedelta(seconds=30)


async def test_of_two_processes_of_one_replica_the_later_one_has_the_lease(bench: Bench) -> None:
    await bench.lease.register()
    bench.lives(5)
    other = bench.started()
    await other.register()
    with pytest.raises(LeaseLost):
        await bench.lease.renew()
    assert not bench.lease.is_held()
    await other.renew()
    assert other.is_held()


async def test_a_replica_whose_record_was_taken_away_is_over(bench: Bench) -> None:
    await bench.lease.register()
    await bench.objects.delete(object_keys.replica_key("replica-0"))
    bench.lives(1)
    with pytest.raises(LeaseLost):
        await bench.lease.renew()
    assert not await bench.objects.exists(object_keys.replica_key("replica-0"))


@pytest.mark.parametrize("first", ["renewal", "fence"])
async def test_a_renewal_and_a_fence_at_the_same_moment_cannot_both_win(bench: Bench, first: str) -> None:
    await bench.lease.register()
    bench.lives(ANSWER_SECONDS)
    put, others_turn = bench.objects.put, True

    async def overtaken(key: str, body: bytes, **conditions: Any) -> str:
        nonlocal others_turn
        if others_turn:
            others_turn = False
            if first == "renewal":
                await bench.lease.renew()
            else:
                await bench.ended()
        return await put(key, body, **conditions)

    bench.objects.put = overtaken  # type: ignore[method-assign]
    if first == "renewal":
        await bench.ended()
        assert (await _record(bench)).fenced_at is None
        assert bench.lease.is_held()
        await bench.ended()
    else:
        with pytest.raises(LeaseLost):
            await bench.lease.renew()
    assert (await _record(bench)).fenced_at is not None


# --- the processes before


async def restarted(bench: Bench) -> ReplicaLease:
    lease = bench.started()
    await lease.register()
    return lease


async def test_the_process_that_was_found_is_over_when_its_lease_is_though_another_one_has_it_by_now(
    bench: Bench,
) -> None:
    await bench.lease.register()
    found, end = bench.lease.incarnation, NOW + timedelta(seconds=30)
    assert await bench.replicas.incarnations(["replica-0", "replica-1"]) == {"replica-0": found}
    bench.lives(10)
    other = await restarted(bench)
    for seconds in (0, 20, 4.9):
        bench.lives(seconds)
        await other.renew()
        assert await bench.ended(found) is None, "by a clock that may be behind it serves still"
    bench.lives(0.1)
    assert await bench.ended(found) == ReplicaAcknowledgement(
        replica_id="replica-0", outcome="expired", at=bench.now, incarnation=found, lease_ended_at=end
    )
    assert await bench.ended(other.incarnation) is None
    await other.renew()
    assert other.is_held(), "who was started since the state was swapped is not cut off"


async def test_a_process_that_goes_on_being_restarted_keeps_nobody_waiting_for_the_first(bench: Bench) -> None:
    await bench.lease.register()
    for _ in range(35):
        assert await bench.ended(bench.lease.incarnation) is None
        bench.lives(1)
        await restarted(bench)
    ended = await bench.ended(bench.lease.incarnation)
    assert ended is not None and ended.lease_ended_at == NOW + timedelta(seconds=30)


async def test_a_record_names_every_earlier_process_whose_lease_may_run_on_and_few_others(bench: Bench) -> None:
    started = [await restarted(bench) for _ in range(KEPT_ENDS + 4)]
    last = await restarted(bench)
    assert list((await _record(bench)).earlier) == [lease.incarnation for lease in started]
    await last.renew()
    assert list((await _record(bench)).earlier) == [lease.incarnation for lease in started], "a renewal keeps them"
    bench.lives(60)
    await restarted(bench)
    kept = [lease.incarnation for lease in [*started, last]][-KEPT_ENDS:]
    assert list((await _record(bench)).earlier) == kept
    assert await bench.ended(started[0].incarnation) is not None, "the others are over"


async def test_a_renewal_while_another_process_takes_the_lease_over_is_one_of_what_that_knows(bench: Bench) -> None:
    await bench.lease.register()
    bench.lives(10)
    get, others_turn = bench.objects.get, True

    async def overtaken(key: str) -> StoredObject:
        nonlocal others_turn
        stored = await get(key)
        if others_turn:
            others_turn = False
            await bench.lease.renew()
        return stored

    bench.objects.get = overtaken  # type: ignore[method-assign]
    await restarted(bench)
    record = await _record(bench)
    assert (
        record.earlier
        == {bench.lease.incarnation: bench.lease.expires_at}
        == {bench.lease.incarnation: NOW + timedelta(seconds=40)}
    )
    bench.lives(1)
    with pytest.raises(LeaseLost):
        await bench.lease.renew()


async def test_a_process_that_did_not_hear_that_it_is_registered_is_not_one_before_itself(bench: Bench) -> None:
    await bench.lease.register()
    other = bench.started()
    bench.objects.loses_answers = 1
    with pytest.raises(Transient):
        await other.register()
    await other.register()
    record = await _record(bench)
    assert (record.incarnation, list(record.earlier)) == (other.incarnation, [bench.lease.incarnation])
    assert other.is_held()


async def test_a_replica_starts_though_its_record_cannot_be_read(bench: Bench) -> None:
    await bench.objects.put(object_keys.replica_key("replica-0"), b"{")
    assert await bench.replicas.incarnations(["replica-0"]) == {}
    await bench.lease.register()
    assert bench.lease.is_held()


async def test_only_the_process_that_has_the_lease_now_holds_it(bench: Bench) -> None:
    assert not await holds_lease(bench.objects, "replica-0", bench.lease.incarnation)
    await bench.lease.register()
    assert await holds_lease(bench.objects, "replica-0", bench.lease.incarnation)
    await restarted(bench)
    assert not await holds_lease(bench.objects, "replica-0", bench.lease.incarnation)
