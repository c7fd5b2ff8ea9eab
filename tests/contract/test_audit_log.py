"""The audit log on every object store: in order, once each, at a constant cost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from schemas.evidence.audit import Actor, AuditEntry, body_sha256, entry_bytes, genesis, segment_lines
from schemas.objects import object_keys
from tenancy.audit.checkpoints import Checkpointer
from tenancy.audit.log import AuditLog, AuditRecord
from tenancy.errors import AuditBroken
from tenancy.state.open_work import Announcer
from tenancy.storage.objects import ObjectStore, ObjectVersion
from tests.contract.conftest import START, TENANT, SteppedClock
from tests.fixtures.all_keys import AllKeys


def record(name: str) -> AuditRecord:
    return AuditRecord(name, "example.approved", START, Actor(role="service", id="test"), {"version": 1})


@pytest.fixture
def log(objects: ObjectStore, clock: SteppedClock) -> AuditLog:
    return AuditLog(objects, clock)


async def entries(objects: ObjectStore) -> list[AuditEntry]:
    """Every entry, after checking that each follows the one before."""
    found: list[AuditEntry] = []
    previous = genesis(TENANT)
    async for key in objects.keys(object_keys.audit_entries_prefix(TENANT)):
        segment = segment_lines((await objects.get(key)).body)
        assert key == object_keys.audit_entry(TENANT, len(found) + 1)
        for body in segment:
            entry = AuditEntry.model_validate_json(body)
            assert entry.previous == previous
            previous = body_sha256(body)
            found.append(entry)
    assert [entry.seq for entry in found] == list(range(1, len(found) + 1))
    return found


async def test_entries_follow_each_other_and_a_repetition_adds_none(log: AuditLog, objects: ObjectStore) -> None:
    assert await log.head(TENANT) is None
    for name in ("a", "b", "a", "c", "b", "c"):
        await log.append(TENANT, record(name))
    again = await log.append(TENANT, record("b"))
    assert (again.entry.seq, again.is_new) == (2, False)
    assert len(await entries(objects)) == 3
    head = await log.head(TENANT)
    assert head is not None
    assert (head.seq, head.unsigned) == (3, 3)


async def test_the_same_occurrence_is_another_one_for_another_tenant(log: AuditLog) -> None:
    from tenancy.tenant_id import TenantId

    assert (await log.append(TENANT, record("a"))).is_new
    assert (await log.append(TenantId("t10"), record("a"))).is_new


async def test_many_appenders_at_once_enter_everything_once(log: AuditLog, objects: ObjectStore) -> None:
    wanted = [record(f"o{number}") for number in range(8) for _ in range(2)]
    appended = await asyncio.gather(*(log.append(TENANT, one) for one in wanted))
    found = await entries(objects)
    assert len(found) == 8
    assert sum(one.is_new for one in appended) == 8
    for one, other in zip(appended[::2], appended[1::2], strict=True):
        assert one.entry.seq == other.entry.seq
    for at, one in enumerate(appended):
        claim = await log.claim(TENANT, wanted[at].occurrence)
        assert claim is not None
        assert (claim.tag, claim.position) == (found[one.entry.seq - 1].tag, one.entry.seq)


class Counted:
    """An object store that counts what is asked of it."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def get(self, key: str) -> Any:
        self.asked["get"] += 1
        return await self.inner.get(key)

    async def put(self, key: str, body: bytes, **conditions: Any) -> str:
        self.asked["put"] += 1
        return await self.inner.put(key, body, **conditions)

    def keys(self, prefix: str) -> AsyncIterator[str]:
        self.asked["list"] += 1
        return self.inner.keys(prefix)

    def versions(self, prefix: str) -> AsyncIterator[ObjectVersion]:
        self.asked["list"] += 1
        return self.inner.versions(prefix)


async def test_an_append_costs_the_same_however_long_the_log_is(objects: ObjectStore, clock: SteppedClock) -> None:
    counted: Any = Counted(objects)
    announcer = Announcer(objects, "audit")
    await announcer.announce(TENANT)  # one more request, once a minute
    log = AuditLog(counted, clock, announcer=announcer)
    for number in range(40):
        counted.asked.clear()
        await log.append(TENANT, record(f"o{number}"))
        assert counted.asked == {"get": 1, "put": 3}, number
    for number in (0, 20, 39):
        counted.asked.clear()
        await log.append(TENANT, record(f"o{number}"))
        assert counted.asked == {"get": 3, "put": 1}, number
        counted.asked.clear()
        await log.append(TENANT, record(f"o{number}"), is_repeated=True)
        assert counted.asked == {"get": 3}, "who asks again and again writes nothing"


async def test_runs_and_single_appends_follow_each_other_and_a_repeated_run_adds_nothing(
    log: AuditLog, objects: ObjectStore
) -> None:
    await log.append(TENANT, record("a"))
    stale = (await objects.get(object_keys.audit_head(TENANT))).body
    run = await log.append_run(TENANT, [record(name) for name in ("b", "c", "d")])
    await log.append(TENANT, record("e"))
    assert [(one.entry.seq, one.is_new) for one in run] == [(2, True), (3, True), (4, True)]
    await objects.put(object_keys.audit_head(TENANT), stale)
    again = await log.append_run(TENANT, [record(name) for name in ("d", "f", "b")])
    assert [(one.entry.seq, one.is_new) for one in again] == [(4, False), (6, True), (2, False)]
    found = await entries(objects)
    assert len(found) == 6
    entered = await log.entered(TENANT, "c")
    assert entered == found[2]
    head = await log.head(TENANT)
    assert head is not None
    assert (head.seq, head.entry_sha256) == (6, body_sha256(entry_bytes(found[5])))


async def test_a_head_that_lags_behind_is_caught_up_with(log: AuditLog, objects: ObjectStore) -> None:
    await log.append(TENANT, record("a"))
    stale = (await objects.get(object_keys.audit_head(TENANT))).body
    for name in ("b", "c", "d"):
        await log.append(TENANT, record(name))
    await objects.put(object_keys.audit_head(TENANT), stale)
    assert (await log.caught_up_head(TENANT))[0].seq == 4
    assert (await log.append(TENANT, record("c"))).entry.seq == 3
    assert (await log.append(TENANT, record("e"))).entry.seq == 5
    head = await log.head(TENANT)
    assert head is not None
    assert head.seq == 5
    assert len(await entries(objects)) == 5


async def test_a_head_that_somebody_wrote_over_is_made_anew_from_the_entries(
    log: AuditLog, objects: ObjectStore
) -> None:
    for name in ("a", "b"):
        await log.append(TENANT, record(name))
    await objects.put(object_keys.audit_head(TENANT), b"nothing")
    assert (await log.append(TENANT, record("a"))).entry.seq == 1
    assert (await log.append(TENANT, record("c"))).entry.seq == 3
    head = await log.head(TENANT)
    assert head is not None
    assert head.seq == 3
    assert len(await entries(objects)) == 3


async def test_after_forgetting_no_object_names_an_event(log: AuditLog, objects: ObjectStore) -> None:
    for name in ("event-a", "event-b"):
        await log.append(TENANT, record(name))
    await log.forget_claims(TENANT)
    left = [version async for version in objects.versions(object_keys.audit_prefix(TENANT))]
    assert not [version.key for version in left if "event" in version.key]
    assert await log.claim(TENANT, "event-a") is None
    assert len(await entries(objects)) == 2


async def test_an_entry_that_was_taken_away_stops_the_one_that_would_follow_it(
    log: AuditLog, objects: ObjectStore, clock: SteppedClock
) -> None:
    await log.append(TENANT, record("a"))
    await objects.put(  # a delivery of "b" that died before its entry, when "x" was the last one
        object_keys.audit_claim(TENANT, "b"), b'{"tag":"tag-b","position":4}', if_absent=True
    )
    with pytest.raises(AuditBroken):
        await log.append(TENANT, record("b"))


async def test_checkpoints_sign_what_is_entered_once_and_follow_each_other(
    log: AuditLog, objects: ObjectStore, clock: SteppedClock
) -> None:
    signer = AllKeys.made()
    signers = [Checkpointer(log, signer), Checkpointer(log, signer)]
    assert await signers[0].seal(TENANT) is None
    for number in range(3):
        await log.append(TENANT, record(f"o{number}"))
        made = await asyncio.gather(*(one.seal(TENANT) for one in signers))
        assert made[0] == made[1]
        assert made[0] is not None
        assert (made[0].number, made[0].seq) == (number + 1, number + 1)
    head = await log.head(TENANT)
    assert head is not None
    assert (head.checkpoint, head.unsigned) == (made[0], 0)
    keys = [key async for key in objects.keys(object_keys.audit_checkpoints_prefix(TENANT))]
    assert keys == [object_keys.audit_checkpoint(TENANT, number) for number in (1, 2, 3)]


async def test_the_end_that_a_run_has_left_is_signed_as_it_is_whoever_signed_or_entered_something_since(
    log: AuditLog,
) -> None:
    keys = AllKeys.made()
    run = await log.append_run(TENANT, [record("a"), record("b")])
    made = await Checkpointer(log, keys).seal(TENANT, run[-1].hint)
    assert made is not None
    assert made == await Checkpointer(log, keys).seal(TENANT, run[-1].hint), "by another process, as it is"
    run = await log.append_run(TENANT, [record("c"), record("d")])
    await log.append(TENANT, record("e"))
    made = await Checkpointer(log, keys).seal(TENANT, run[-1].hint)
    head = await log.head(TENANT)
    assert made is not None
    assert head is not None
    assert (made.number, made.seq) == (2, 4)
    assert (head.seq, head.checkpoint, head.unsigned) == (5, made, 1)
