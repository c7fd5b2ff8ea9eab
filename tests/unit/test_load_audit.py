"""Loads of adapters in the audit log: entered beside the answers, once, and never in their way."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

import pytest

from inference.replica.load_audit import WAITING, LoadAudit
from producers.queries.audit_copy import read_copy
from producers.queries.audit_log import entries_of
from schemas.evidence.audit import AuditEntry
from schemas.objects import object_keys
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import assemble
from tenancy.errors import StoreUnavailable
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.history import onboarded
from tests.unit.operator_parts import NOW, Parts

BOUND_SECONDS = 30
TENANT = TenantId("t1")
DIGEST = "d" * 64


@dataclass
class FailingStore(MemoryObjectStore):
    """Out of reach when told so; or it takes a write and its answer is lost."""

    is_down: bool = False
    loses_answers_of: str | None = None

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        if self.is_down:
            raise StoreUnavailable("out of reach")
        etag = await super().put(key, body, if_absent=if_absent, if_match=if_match)
        if self.loses_answers_of is not None and self.loses_answers_of in key:
            raise StoreUnavailable("the answer is lost")
        return etag


@dataclass
class Bench:
    """A replica's port on a store that can fail."""

    objects: FailingStore = field(default_factory=FailingStore)
    lost: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        master = KeyFileMasterKey(b"m" * 32)
        self.tenancy = assemble(self.objects, master, Parts().publisher, "/sanolith/test", lambda: NOW)
        self.audit = LoadAudit(self.tenancy, "replica-0", lambda: self.lost.append(""))

    async def entries(self) -> list[AuditEntry]:
        return entries_of(await read_copy(self.tenancy, TENANT))


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await onboarded(made.tenancy, TENANT, TenantPolicy())
    return made


async def test_a_load_is_entered_with_replica_adapter_and_time(bench: Bench) -> None:
    bench.audit.note(TENANT, DIGEST)
    assert await bench.entries() == [], "noting writes nothing"
    await bench.audit.enter()
    (entry,) = await bench.entries()
    assert (entry.kind, entry.time, entry.actor.id) == ("adapter.loaded", NOW, "replica-0")
    assert entry.facts == {"adapter_digest": DIGEST, "replica_id": "replica-0"}
    await bench.audit.enter()
    assert len(await bench.entries()) == 1


async def test_the_same_adapter_loaded_twice_is_two_entries(bench: Bench) -> None:
    bench.audit.note(TENANT, DIGEST)
    bench.audit.note(TENANT, DIGEST)
    await bench.audit.enter()
    assert len(await bench.entries()) == 2


@pytest.mark.parametrize("lost", ["claims/", "entries/", "head"])
async def test_a_load_whose_answer_was_lost_is_entered_once(bench: Bench, lost: str) -> None:
    bench.audit.note(TENANT, DIGEST)
    bench.objects.loses_answers_of = lost
    await bench.audit.enter()
    bench.objects.loses_answers_of = None
    await bench.audit.enter()
    assert len(await bench.entries()) == 1
    assert bench.lost == []


async def test_while_the_store_is_out_of_reach_loads_wait_and_those_beyond_the_bound_are_counted(bench: Bench) -> None:
    bench.objects.is_down = True
    for _ in range(WAITING + 3):
        bench.audit.note(TENANT, DIGEST)
    await bench.audit.enter()
    assert len(bench.lost) == 3
    bench.objects.is_down = False
    await bench.audit.enter()
    assert len(await bench.entries()) == WAITING


async def test_a_load_that_can_never_be_entered_does_not_hold_up_the_others(bench: Bench) -> None:
    bench.audit.note(TenantId("nobody"), DIGEST)
    bench.audit.note(TENANT, DIGEST)
    await bench.audit.enter()
    assert len(await bench.entries()) == 1
    assert len(bench.lost) == 1


async def test_a_load_whose_tenants_state_cannot_be_parsed_is_lost_aloud_and_holds_up_nobody(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    broken = TenantId("broken")
    await bench.objects.put(object_keys.state_key(broken), b'{"status": "Mrs-Miller"}')
    bench.audit.note(broken, DIGEST)
    bench.audit.note(TENANT, DIGEST)
    with caplog.at_level(logging.ERROR):
        await bench.audit.enter()
    assert len(await bench.entries()) == 1
    assert len(bench.lost) == 1
    [record] = caplog.records
    assert (record.message, vars(record)["reason"].split(" ")[0]) == ("load not audited", "ValidationError")
    assert "Miller" not in str(vars(record))


async def test_a_load_says_what_the_tenants_status_is_when_it_is_entered(bench: Bench) -> None:
    bench.audit.note(TENANT, DIGEST)
    await bench.tenancy.states.swap(TENANT, lambda state: state.evolve(status="purged"))
    await bench.audit.enter()
    assert [entry.recorded_while for entry in await bench.entries()] == ["purged"]
    assert not [key async for key in bench.objects.keys(object_keys.tenant_prefix(TENANT))]


async def test_a_replica_that_stops_in_an_outage_counts_its_loads_as_lost_and_waits_for_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def hangs(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    for _ in range(3):
        bench.audit.note(TENANT, DIGEST)
    monkeypatch.setattr(bench.objects, "get", hangs)
    async with asyncio.timeout(BOUND_SECONDS):
        await bench.audit.close(0.01)
    assert len(bench.lost) == 3
    assert [record.message for record in caplog.records] == ["load not audited"] * 3


async def test_a_replica_that_stops_enters_its_last_loads(bench: Bench) -> None:
    bench.audit.note(TENANT, DIGEST)
    await bench.audit.close(BOUND_SECONDS)
    assert (len(await bench.entries()), bench.lost) == (1, [])
