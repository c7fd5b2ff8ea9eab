"""A purge's record that cannot be read stops neither the other purges, nor their warnings, nor the metrics."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from producers.commands import legal_holds
from schemas.bus import events
from tenancy.state.open_work import announce
from tenancy.tenant_id import TenantId
from tests.invariants.worlds import assert_purged, learned
from tests.world.purging import Metrics, live, warnings
from tests.world.world import POLICY, World

NEWER = b'{"step": "a-step-of-a-newer-release", "note": "canary"}'
# Listed before any other: what stops at it does nothing at all.
UNREADABLE = ("purges/a-first/p1.json", "purges/a-first/A name of no purge.json")


async def with_unreadable(world: World) -> None:
    await announce(world.memory, "purges", TenantId("a-first"))
    for key, body in zip(UNREADABLE, (NEWER, b"not even JSON"), strict=True):
        await world.memory.put(key, body)


async def test_the_purges_listed_behind_an_unreadable_record_are_driven(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1", POLICY)
    await learned(world, tenant)
    await with_unreadable(world)
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    with caplog.at_level(logging.ERROR):
        await world.settle()
    await assert_purged(world, tenant)
    said = [record for record in caplog.records if record.message == "purge record not read"]
    assert {vars(record)["purge_id"] for record in said} == {"a-first/p1", "a-first/A name of no purge"}
    assert "canary" not in str([vars(record) for record in said]), "the record's text is not repeated"


async def test_unreadable_records_are_counted_and_the_others_are_warned_of(tmp_path: Path) -> None:
    world = World(tmp_path)
    metrics = Metrics(world)
    tenant = await world.onboard("t1", POLICY)
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op")
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await with_unreadable(world)
    await live(world, 16 * 24)
    assert warnings(world, tenant) == ["at_risk|50"]
    assert world.watchdog.overview.steps == {"fenced": 1}
    assert world.watchdog.overview.unreadable == 2
    shown = {line.rsplit(" ", 1)[0]: line.rsplit(" ", 1)[1] for line in metrics.shown().splitlines()}
    [flagged] = [value for name, value in shown.items() if "sano_purge_flagged{" in name and "unreadable" in name]
    assert float(flagged) == 2
