"""Appenders to one audit log in every order of their requests, and dying between any two: an entry each, and one chain.

Nothing sleeps here. A process stops before each request to the store until the schedule gives it a turn, so that
every order of the first requests is tried, and not the few that a scheduler happens to choose.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.queries.audit_copy import read_copy
from schemas.evidence.audit import Actor
from tenancy.audit.checkpoints import Checkpointer
from tenancy.audit.log import Appended, AuditLog, AuditRecord
from tenancy.audit.verification import AuditVerdict, verify_copy
from tenancy.bootstrap import assemble
from tenancy.bus import RecordingPublisher
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import StoredObject
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.examples import examples
from tests.invariants.stepping import Process

TENANT = TenantId("t1")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIGNER = AllKeys.made()
TURNS = 11


class Appending(Process):
    """A process that stops before each request to the store. Abandoned, it has died there."""

    def __init__(self, memory: MemoryObjectStore) -> None:
        super().__init__()
        self._memory = memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    async def get(self, key: str) -> StoredObject:
        await self.about_to(f"get {key}")
        return await self._memory.get(key)

    async def put(self, key: str, body: bytes, **conditions: Any) -> str:
        await self.about_to(f"put {key}")
        return await self._memory.put(key, body, **conditions)


def record(name: str) -> AuditRecord:
    return AuditRecord(name, "example.approved", NOW, Actor(role="service", id="test"))


def log_of(process: Any) -> AuditLog:
    return AuditLog(process, lambda: NOW)


async def verified(memory: MemoryObjectStore) -> AuditVerdict:
    tenancy = assemble(memory, KeyFileMasterKey(b"k" * 32), RecordingPublisher(), "/test", lambda: NOW)
    return verify_copy(await read_copy(tenancy, TENANT), SIGNER.trust)


async def assert_entered(memory: MemoryObjectStore, wanted: Iterable[str]) -> None:
    """Every occurrence has one entry, where its claim says, and the chain holds."""
    verdict = await verified(memory)
    assert verdict.problems == ()
    assert verdict.entries == len(set(wanted))
    places = {name: (await log_of(memory).append(TENANT, record(name))) for name in set(wanted)}
    assert not any(place.is_new for place in places.values())
    assert sorted(place.entry.seq for place in places.values()) == list(range(1, len(places) + 1))


async def appended(process: Any, names: str) -> list[Appended]:
    """One event by itself, or several as a run: each letter is one."""
    log, records = log_of(process), [record(name) for name in names]
    return [await log.append(TENANT, records[0])] if len(records) == 1 else await log.append_run(TENANT, records)


def orders(processes: int, turns: int) -> Iterator[tuple[tuple[int, ...], set[tuple[int, ...]]]]:
    """Every order of the first turns of so many processes, each with a set for what :func:`take_turns` finds.

    Orders that give a turn to a process that has ended are skipped: one that gives it to another is the same.
    """
    idle = set[tuple[int, ...]]()
    for order in itertools.product(range(processes), repeat=turns):
        if not any(order[:taken] in idle for taken in range(1, turns + 1)):
            yield order, idle


async def take_turns(
    processes: Sequence[Process], schedule: Iterable[int], idle: set[tuple[int, ...]] | None = None
) -> None:
    """Then each goes on to its end. ``idle`` gets beginnings whose last turn finds a process ended."""
    taken: tuple[int, ...] = ()
    for turn in schedule:
        process, taken = processes[turn % len(processes)], (*taken, turn)
        if process.has_ended and idle is not None:
            idle.add(taken)
        await process.go(1)
    for process in processes:
        await process.go()


async def in_turns(names: tuple[str, ...], schedule: Iterable[int], idle: set[tuple[int, ...]] | None = None) -> None:
    memory = MemoryObjectStore()
    await log_of(memory).append(TENANT, record("before"))
    processes = [Appending(memory) for _ in names]
    for process, some in zip(processes, names, strict=True):
        await process.start(appended(process, some))
    await take_turns(processes, schedule, idle)
    made: list[Appended] = [one for process in processes for one in process.result()]
    assert [one.entry.tag for one in made] == [
        (await log_of(memory).append(TENANT, record(name))).entry.tag for some in names for name in some
    ]
    wanted = {name for some in names for name in some}
    await assert_entered(memory, ("before", *wanted))
    assert sum(one.is_new for one in made) == len(wanted)


async def test_two_events_in_every_order_of_their_requests_are_two_entries() -> None:
    for order in orders(2, TURNS):
        await in_turns(("a", "b"), *order)


async def test_one_event_that_is_delivered_twice_is_one_entry_in_every_order_of_requests() -> None:
    for order in orders(2, TURNS):
        await in_turns(("a", "a"), *order)


@pytest.mark.parametrize("names", [("ab", "bc"), ("ab", "b"), ("abc", "d")])
async def test_runs_and_single_events_in_every_order_of_their_first_requests_are_one_entry_each(
    names: tuple[str, str],
) -> None:
    for order in orders(2, TURNS - 4):
        await in_turns(names, *order)


@examples(50)
@given(
    st.lists(st.sampled_from(["a", "b", "c", "ab", "ba", "bcd", "dca"]), min_size=3, max_size=5).map(tuple),
    st.lists(st.integers(0, 4), max_size=60),
)
def test_any_events_delivered_any_number_of_times_at_once_are_one_entry_each(
    names: tuple[str, ...], schedule: list[int]
) -> None:
    asyncio.run(in_turns(names, schedule))


@examples(50)
@given(
    st.integers(0, 8),
    st.integers(0, 8),
    st.lists(st.integers(0, 2), max_size=40),
    st.sampled_from(["a", "ac", "dac"]),
)
def test_a_process_that_dies_anywhere_leaves_its_entries_to_the_next_delivery(
    died_after: int, others_before: int, schedule: list[int], names: str
) -> None:
    """A delivery of ``a``, or of a run, dies; others append meanwhile; then it is delivered again, and again."""

    async def died() -> None:
        memory = MemoryObjectStore()
        dying, other = Appending(memory), Appending(memory)
        await dying.start(appended(dying, names))
        await other.start(log_of(other).append(TENANT, record("b")))
        for _ in range(others_before):
            await other.go(1)
        for _ in range(died_after):
            await dying.go(1)
        await dying.die()
        again = [Appending(memory) for _ in range(2)]
        for process in again:
            await process.start(appended(process, names))
        for turn in schedule:
            await [other, *again][turn].go(1)
        for process in (other, *again):
            await process.go()
        await assert_entered(memory, ("b", *names))

    asyncio.run(died())


async def test_signers_and_appenders_in_every_order_of_their_requests_leave_one_chain_of_checkpoints() -> None:
    for order in orders(3, 7):
        memory = MemoryObjectStore()
        await log_of(memory).append(TENANT, record("before"))
        signers = [Appending(memory) for _ in range(2)]
        appender = Appending(memory)
        for process in signers:
            await process.start(Checkpointer(log_of(process), SIGNER).seal(TENANT))
        await appender.start(log_of(appender).append(TENANT, record("a")))
        await take_turns((*signers, appender), *order)
        await Checkpointer(log_of(memory), SIGNER).seal(TENANT)
        verdict = await verified(memory)
        assert (verdict.problems, verdict.entries, verdict.signed_entries) == ((), 2, 2)
        before = len(memory.objects)
        await Checkpointer(log_of(memory), SIGNER).seal(TENANT)
        assert len(memory.objects) == before, "what is signed is not signed again"
