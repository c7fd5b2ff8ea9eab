"""A missed identifier that a reviewer marks is searched for in every text, and what contains it is withdrawn."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.curation.rescans import RescanReconciler
from producers.commands.marking import mark
from producers.queries.proposals import open_proposals
from schemas.base.redaction import IdentifierType
from schemas.bus import events
from schemas.objects import object_keys
from schemas.objects.curation import ExampleRecord
from schemas.objects.terms import Term
from tenancy.errors import ObjectNotFound, Refused, TenantFenced
from tenancy.lifecycle.terms import tenant_terms
from tenancy.state.open_work import markers
from tenancy.tenant_id import TenantId
from tests.invariants.test_audit import entries
from tests.invariants.worlds import purged
from tests.world.crashes import each_death
from tests.world.world import LEASE_SECONDS, POLICY, QUIESCE_SECONDS, World

TERM = Term(text="Okonkwo", kind=IdentifierType.CLINICIAN)
WITH_IT = ("e2", "e5", "p1")
WITHOUT = ("e1", "e3", "e4")
"""``p1`` is proposed only."""


async def taught(world: World, name: str = "t1") -> TenantId:
    tenant = await world.onboard(name, POLICY.evolve(min_new_examples=5))
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for number in range(1, 6):
        text = "ask okonkwo" if f"e{number}" in WITH_IT else "a"
        await world.publish(tenant, await world.approval(tenant, f"e{number}", text=text))
    await world.publish(tenant, world.proposal(tenant, "p1", text="Okonkwo's"))
    await world.settle()
    return tenant


async def statuses(world: World, tenant: TenantId) -> dict[str, str]:
    store = await world.outside.store(tenant)
    found: dict[str, str] = {}
    for name in sorted({*WITH_IT, *WITHOUT}):
        try:
            found[name] = (await store.get_record(object_keys.example(name), ExampleRecord))[0].status
        except ObjectNotFound:
            found[name] = "undecided"
    return found


async def assert_withdrawn(world: World, tenant: TenantId) -> None:
    assert await statuses(world, tenant) == {
        **dict.fromkeys(WITHOUT, "approved"),
        **dict.fromkeys(WITH_IT, "withdrawn"),
    }
    store = await world.outside.store(tenant)
    assert {name.split("/")[1] async for name in store.list("contents")} == set(WITHOUT)
    assert [name async for name in store.list("terms")] == ["terms/list"]
    assert (await tenant_terms(store)).identifiers == {TERM.text: TERM.kind}
    assert world.trainer.trained[-1] == WITHOUT, "and the adapter that had learned it is replaced"
    state = await world.state(tenant)
    assert [adapter.status for adapter in state.adapters.values()].count("ready") == 1
    assert await open_proposals(world.outside, tenant) == []
    assert tenant not in await markers(world.memory, "rescans")


async def test_every_example_that_has_it_is_withdrawn_and_adapters_go_as_ever(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, other = await taught(world), await taught(world, "t10")
    assert len(world.trainer.trained) == 2
    await mark(world.outside, tenant, "e2", TERM, reviewer_id="rev-1")
    await world.settle()
    await assert_withdrawn(world, tenant)
    assert "withdrawn" not in (await statuses(world, other)).values()
    reasons = {
        event.data.example_id: event.data.reason_code
        for event in world.bus.topics[events.CURATION]
        if isinstance(event.data, events.ExampleWithdrawn)
    }
    assert reasons == dict.fromkeys(WITH_IT, "missed-identifier")


async def test_the_term_stands_in_the_sealed_list_and_in_no_event_name_body_entry_or_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = World(tmp_path)
    tenant = await taught(world)
    await mark(world.outside, tenant, "e2", TERM, reviewer_id="rev-secret")
    await world.settle()
    for key, versions in world.memory.objects.items():
        assert "konkwo" not in key.lower()
        for body in (version.body or b"" for version in versions):
            assert b"konkwo" not in body.lower() and b"rev-secret" not in body
    for log in world.bus.topics.values():
        assert all("konkwo" not in event.data.model_dump_json().lower() for event in log)
    assert "konkwo" not in caplog.text.lower()
    [marked] = [entry for entry in await entries(world, tenant) if entry.kind == "identifier.marked"]
    assert (marked.actor.role, marked.facts["identifier"]) == ("reviewer", "CLINICIAN")
    assert TERM.text not in f"{TERM!r} {TERM}"


async def test_what_does_not_stand_in_the_example_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await taught(world)
    for example, text in (("e1", "Okonkwo"), ("e2", "Okonkw"), ("nobody", "Okonkwo"), ("e2", "..."), ("e2", "a")):
        with pytest.raises(Refused):
            await mark(world.outside, tenant, example, Term(text=text), reviewer_id="rev-1")
    store = await world.outside.store(tenant)
    assert [name async for name in store.list("terms")] == []
    assert await markers(world.memory, "rescans") == {}


async def test_a_search_that_is_killed_anywhere_goes_on_and_finds_the_same(tmp_path: Path) -> None:
    for crash in each_death(lambda _, process: process == "curation"):
        crash.is_armed = False
        world = World(tmp_path / str(crash.number), crash)
        tenant = await taught(world)
        crash.is_armed = True
        await mark(world.outside, tenant, "e2", TERM, reviewer_id="rev-1")
        await world.settle()
        world.now += timedelta(seconds=4 * LEASE_SECONDS)
        await world.settle()
        await assert_withdrawn(world, tenant)
    assert crash.number > 15


async def test_two_processes_that_search_side_by_side_withdraw_what_one_would(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await taught(world)
    await mark(world.outside, tenant, "e2", TERM, reviewer_id="rev-1")
    for _ in range(3):
        await RescanReconciler(world.outside, QUIESCE_SECONDS, now=world.seconds, at_once=1).reconcile()
    await world.settle()
    await assert_withdrawn(world, tenant)


async def test_after_a_purge_nothing_is_marked_and_nothing_of_a_search_is_left(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await taught(world)
    await mark(world.outside, tenant, "e2", TERM, reviewer_id="rev-1")
    await purged(world, tenant)
    assert [key async for key in world.memory.keys(object_keys.tenant_prefix(tenant))] == []
    assert await markers(world.memory, "rescans") == {}
    with pytest.raises(TenantFenced):
        await mark(world.outside, tenant, "e2", TERM, reviewer_id="rev-1")
    assert [key async for key in world.memory.keys(object_keys.tenant_prefix(tenant))] == []
