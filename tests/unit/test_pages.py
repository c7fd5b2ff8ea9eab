"""Long lists are read and printed page by page, as they come."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from pydantic import BaseModel

from producers.cli.output import print_pages
from producers.queries import purges, tenants
from schemas.bus.events import PurgeRequested
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from tenancy.bootstrap import assemble
from tenancy.bus import RecordingPublisher
from tenancy.platform.concurrency import PAGE
from tenancy.storage.master_keys import KeyFileMasterKey
from tests.fixtures.noting_store import NotingStore
from tests.world.world import QUIESCE_SECONDS, World


class Row(BaseModel):
    name: str


async def pages() -> AsyncIterator[list[Row]]:
    yield [Row(name="short")]
    yield []
    yield [Row(name="a longer one"), Row(name="x")]


async def nothing() -> AsyncIterator[list[Row]]:
    yield []


async def test_the_first_page_of_tenants_is_there_before_the_others_are_read() -> None:
    store = NotingStore()
    tenancy = assemble(store, KeyFileMasterKey(bytes(32)), RecordingPublisher(), "/test")
    for number in range(2 * PAGE + 1):
        await tenancy.states.create(TenantState(tenant=f"t{number:04d}", nonce="n"))
    found = tenants.pages(tenancy)
    assert [view.tenant for view in await anext(found)] == [f"t{number:04d}" for number in range(PAGE)]
    assert len(store.keys_read) == PAGE
    assert [len(page) async for page in found] == [PAGE, 1]


async def test_pages_are_one_json_array(capsys: pytest.CaptureFixture[str]) -> None:
    await print_pages(pages(), {}, empty="none", json=True)
    assert json.loads(capsys.readouterr().out) == [{"name": "short"}, {"name": "a longer one"}, {"name": "x"}]
    await print_pages(nothing(), {}, empty="none", json=True)
    assert json.loads(capsys.readouterr().out) == []


async def test_pages_are_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    await print_pages(pages(), {"name": lambda row: row.name, "n": lambda row: 1}, empty="none", json=False)
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["name", "n"],
        ["short", "1"],
        ["a", "longer", "one", "1"],
        ["x", "1"],
    ]
    await print_pages(nothing(), {}, empty="none", json=False)
    assert capsys.readouterr().out == "none\n"


async def test_open_purges_come_first_and_cost_no_look_at_the_others(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.world.world.MemoryObjectStore", NotingStore)
    world = World(tmp_path_factory.mktemp("world"))
    assert isinstance(world.memory, NotingStore)
    done, opened = await world.onboard("a-done"), await world.onboard("z-open")
    await world.publish(done, PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"))
    await world.settle()
    for _ in range(2):
        world.now += timedelta(seconds=QUIESCE_SECONDS)
        await world.driver.reconcile()
    await world.publish(opened, PurgeRequested(purge_id="p2", reason_code="churned", requested_by="op"))
    await world.deliver()
    assert [view.purge_id for view in (await purges.purges(world.outside)).views] == ["p2", "p1"]
    world.memory.keys_read.clear()
    found = [page.views async for page in purges.pages(world.outside, only_open=True)]
    assert [[view.purge_id for view in page] for page in found] == [["p2"]]
    assert object_keys.purge_key(done, "p1") not in world.memory.keys_read
