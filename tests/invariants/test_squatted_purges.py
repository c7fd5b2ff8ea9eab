"""Who may write to the tenants' topic can neither occupy another tenant's purge nor keep one from being seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consumers.purge.app import HANDLERS
from consumers.purge.dead_letters import on_dead_letter
from consumers.purge.fence import record_request
from consumers.runtime.dispatch import Dispatcher
from consumers.runtime.handling import Handling
from consumers.runtime.liveness import Progress
from consumers.runtime.redeliveries import Redeliveries
from producers.commands import legal_holds
from producers.commands.policies import set_policy
from producers.queries import purges
from producers.queries.purges_due import purges_due
from schemas.bus import events
from schemas.bus.derived_commands import churn_purge_id
from schemas.bus.envelope import Event
from schemas.objects import object_keys
from tenancy.evidence.verification import verify_file
from tenancy.tenant_id import TenantId
from tests.fixtures.records import record_of as message_of
from tests.invariants.worlds import assert_purged, event, learned, service
from tests.unit.runtime_parts import POLICY as HANDLING
from tests.unit.runtime_parts import TELEMETRY, NothingGuarded
from tests.world.purging import Metrics, live, record_of, warnings
from tests.world.world import POLICY, World

SLA = timedelta(days=POLICY.deletion_sla_days)


def command(purge_id: str) -> events.PurgeRequested:
    return events.PurgeRequested(purge_id=purge_id, reason_code="churned", requested_by="forger")


async def churned(world: World, tenant: TenantId) -> Event[events.TenantChurned]:
    return await world.publish(tenant, events.TenantChurned(requested_by="op"))


async def assert_certified_in_time(world: World, tenant: TenantId, tmp_path: Path) -> None:
    await assert_purged(world, tenant)
    record = await record_of(world, tenant)
    stored = await world.memory.get(object_keys.certificate_key(tenant, record.purge_id))
    file = tmp_path / f"{tenant}.json"
    file.write_bytes(stored.body)
    verdict = verify_file(file, world.keys.trust)
    assert verdict.facts["tenant"] == tenant
    assert "within the deadline" in verdict.facts["completed"]


# --- the id of another tenant's purge


@pytest.mark.parametrize("squatted", ["before the churn", "between churn and command", "after a hold has stopped it"])
async def test_a_purge_that_has_the_id_of_another_tenants_purge_holds_up_neither(tmp_path: Path, squatted: str) -> None:
    world = World(tmp_path)
    churning, other = await world.onboard("tenant-c"), await world.onboard("tenant-d")
    for tenant in (churning, other):
        await learned(world, tenant, text=tenant)
    forged = command(churn_purge_id(churning))
    begun = world.now
    if squatted == "before the churn":
        await world.publish(other, forged)
        await world.settle()
        await churned(world, churning)
    elif squatted == "between churn and command":
        await churned(world, churning)
        await world.handle(service(world, "purge"), await world.publish(other, forged))
    else:
        await legal_holds.place(world.outside, churning, reason_code="litigation", placed_by="op", hold_id="h1")
        await churned(world, churning)
        await world.settle()
        await world.publish(other, forged)
        await world.settle()
        await legal_holds.release(world.outside, churning, "h1", released_by="op")
    await world.settle()
    await assert_certified_in_time(world, churning, tmp_path)
    await assert_certified_in_time(world, other, tmp_path)
    assert (await record_of(world, churning)).requested_by == "op"
    assert (await record_of(world, churning)).deadline < begun + SLA + timedelta(days=1)
    assert (await record_of(world, other)).requested_by == "forger"


async def test_an_acknowledgement_of_another_tenants_purge_of_the_same_id_counts_for_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    exporting = POLICY.evolve(right_of_export=True)
    one, other = await world.onboard("tenant-c", exporting), await world.onboard("tenant-d", exporting)
    digests = {tenant: await learned(world, tenant, text=tenant) for tenant in (one, other)}
    for tenant in (one, other):
        await world.publish(tenant, command("p1"))
    await world.settle()
    taken = events.ExportAcknowledged(export_id="p1", adapter_digest=digests[other], acknowledged_by="op")
    await world.publish(other, taken)
    await world.settle()
    steps = {tenant: (await record_of(world, tenant)).step for tenant in (one, other)}
    assert steps == {one: "exported", other: "certified"}


# --- the clock


async def test_a_churn_is_carried_out_in_time_although_its_command_never_arrives(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    await learned(world, tenant)
    purge = service(world, "purge")
    asked_at = world.now
    await world.handle(purge, await churned(world, tenant))
    opened = await world.driver.records.read(tenant, churn_purge_id(tenant))
    assert (opened.step, opened.requested_at, opened.deadline) == ("requested", asked_at, asked_at + SLA)
    log = world.bus.topics[events.TENANTS]
    log[:] = [event for event in log if not isinstance(event.data, events.PurgeRequested)]
    world.now += timedelta(days=2)
    await world.settle()
    await assert_certified_in_time(world, tenant, tmp_path)
    assert (await record_of(world, tenant)).deadline == asked_at + SLA


@pytest.mark.parametrize("churn_is_handled", ["once, before the other command", "after the other command's fence"])
async def test_the_sla_counts_from_the_churn_whichever_purge_fences_the_tenant(
    tmp_path: Path, churn_is_handled: str
) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op", hold_id="h1")
    purge = service(world, "purge")
    churn = await churned(world, tenant)
    if churn_is_handled == "once, before the other command":
        await world.handle(purge, churn)
    world.now += timedelta(days=3)
    await world.handle(purge, await world.publish(tenant, command("another")))
    if churn_is_handled == "once, before the other command":
        purge.positions[events.TENANTS] = len(world.bus.topics[events.TENANTS])
    await world.settle()
    record = await record_of(world, tenant)
    assert record.purge_id == "another"
    assert (record.requested_at, record.requested_by) == (churn.time, "op")
    assert record.deadline == churn.time + SLA
    assert [view.purge_id for view in (await purges.purges(world.outside)).views] == ["another"]
    await legal_holds.release(world.outside, tenant, "h1", released_by="op")
    await world.settle()
    await assert_certified_in_time(world, tenant, tmp_path)


async def test_a_churn_that_arrives_behind_another_command_moves_its_deadline_by_what_that_promised(
    tmp_path: Path,
) -> None:
    """Whatever the policy says by then."""
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    purge = service(world, "purge")
    churn = Event(subject=tenant, data=events.TenantChurned(requested_by="op"), time=world.now, source="/test")
    world.now += timedelta(days=3)
    other = command("another")
    await record_request(event(tenant, other, world), world.outside, world.driver.records)
    await set_policy(world.outside, tenant, {"deletion_sla_days": POLICY.deletion_sla_days + 100})
    await world.driver.fence(await world.driver.records.read(tenant, "another"))
    await world.handle(purge, churn)
    await world.settle()
    record = await record_of(world, tenant)
    assert (record.requested_at, record.deadline) == (churn.time, churn.time + SLA)
    await assert_certified_in_time(world, tenant, tmp_path)


async def test_a_purge_whose_deadline_moves_forward_waits_for_others_until_a_day_before_it(tmp_path: Path) -> None:
    exporting = POLICY.evolve(right_of_export=True, export_wait_days=20, deletion_sla_days=30)
    world = World(tmp_path)
    world.driver.policy = replace(
        world.driver.policy, subcontractors=("backup-house",), confirmation_wait=timedelta(days=25)
    )
    tenant = await world.onboard("t1", exporting)
    await learned(world, tenant)
    purge = service(world, "purge")
    churn = Event(subject=tenant, data=events.TenantChurned(requested_by="op"), time=world.now, source="/test")
    world.now += timedelta(days=15)
    await world.handle(purge, await world.publish(tenant, command("another")))
    await world.settle()
    await world.handle(purge, churn)
    record = await record_of(world, tenant)
    last = churn.time + timedelta(days=29)
    assert record.export is not None
    assert (record.export.waits_until, record.confirmations_until) == (last, last)
    await live(world, 24 * 14 + 1)
    await assert_certified_in_time(world, tenant, tmp_path)


async def test_a_churn_that_comes_again_later_does_not_move_the_deadline(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op", hold_id="h1")
    first = await churned(world, tenant)
    await world.settle()
    world.now += timedelta(days=5)
    await churned(world, tenant)
    world.rewind("purge", events.TENANTS)
    await world.settle()
    assert (await record_of(world, tenant)).deadline == first.time + SLA


# --- a tenant that is to be purged and is active


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    lines = [vars(record) for record in caplog.records if record.message == "tenant not fenced"]
    return [(line["purge_id"], line["reason"]) for line in lines]


def not_fenced(metrics: Metrics) -> float:
    [line] = [line for line in metrics.shown().splitlines() if line.startswith("sano_purge_tenants_not_fenced{")]
    return float(line.rpartition(" ")[2])


async def test_a_purge_that_nobody_carries_out_is_an_alarm_of_watchdog_metrics_purges_and_doctor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    metrics = Metrics(world)
    tenant = await world.onboard("t1")
    await world.handle(service(world, "purge"), await churned(world, tenant))

    async def stuck(self: object, *named: str) -> None:
        """A driver that fails over every purge."""

    monkeypatch.setattr(type(world.driver), "try_to_advance", stuck)
    await world.watchdog.reconcile()
    assert (said(caplog), not_fenced(metrics)) == ([], 0)
    assert str(await purges_due(world.memory, world.clock)) == ""
    world.now += timedelta(minutes=15)
    await world.watchdog.reconcile()
    assert (said(caplog), not_fenced(metrics)) == ([(churn_purge_id(tenant), "not-carried-out")], 1)
    [view] = (await purges.purges(world.outside)).views
    assert view.flags == ("not-fenced",)
    assert view.waits_for == ("the purge service, which has not fenced the tenant",)
    assert str(await purges_due(world.memory, world.clock)) == "still active, although a purge was asked for: t1"
    world.now += SLA / 2
    await world.watchdog.reconcile()
    assert warnings(world, tenant) == ["at_risk|50"]


async def test_a_churn_that_only_the_audit_log_knows_is_an_alarm_of_the_doctor(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant, _ = await world.onboard("t1"), await world.onboard("t2")
    await world.handle(service(world, "ledger"), await churned(world, tenant))
    assert str(await purges_due(world.memory, world.clock)) == "churned, and no purge was opened: t1"
    await world.settle()
    assert str(await purges_due(world.memory, world.clock)) == ""


async def dead_lettered(world: World, message: Any) -> None:
    """Deliver a message to the purge service's own runtime, which writes a letter."""
    before = len(world.bus.dead)
    ports = service(world, "purge").ports
    dispatcher = Dispatcher("purge", HANDLERS, ports.tenancy, ports, TELEMETRY, HANDLING, on_dead_letter=on_dead_letter)
    in_hand = NothingGuarded("test", ports.tenancy, 5, lambda _: None)
    assert await Handling(dispatcher, Progress(60.0, 99), in_hand, Redeliveries(3)).attempt_one(message)
    assert len(world.bus.dead) == before + 1


def message(world: World, tenant: str, data: events.EventData, **changed: Any) -> Any:
    return message_of(Event(subject=tenant, data=data, time=world.now, source="/test"), **changed)


MALFORMED: dict[str, tuple[events.EventData, dict[str, Any]]] = {
    "invalid-data": (events.TenantChurned(requested_by="op"), {"value": b"{}"}),
    "key-mismatch": (events.TenantChurned(requested_by="op"), {"key": None}),
    "no-data": (command("p1"), {"value": None}),
}


@pytest.mark.parametrize("reason", MALFORMED)
async def test_a_dead_letter_that_asks_for_a_purge_is_an_alarm_until_a_command_is_accepted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    world = World(tmp_path)
    metrics = Metrics(world)
    tenant = await world.onboard("t1")
    await learned(world, tenant)
    data, broken = MALFORMED[reason]
    await dead_lettered(world, message(world, tenant, data, **broken))
    await dead_lettered(world, message(world, tenant, data, **broken))
    await live(world, 1)
    assert (await world.state(tenant)).status == "active", "what was not accepted has no effect"
    assert {why for _, why in said(caplog)} == {reason}
    assert not_fenced(metrics) == 1
    [view] = (await purges.purges(world.outside)).views
    assert view.flags == ("not-fenced",)
    assert view.waits_for[0].startswith("a command that is accepted: what asked for it is a dead letter (")
    assert str(await purges_due(world.memory, world.clock)) == "still active, although a purge was asked for: t1"
    await live(world, 16 * 24)
    assert warnings(world, tenant) == ["at_risk|50"]

    churn = await churned(world, tenant)
    await world.settle()
    await assert_certified_in_time(world, tenant, tmp_path)
    record = await record_of(world, tenant)
    assert (record.requested_at, record.dead_letter) == (churn.time, None), "a dead letter is no evidence of anything"
    assert [view.step for view in (await purges.purges(world.outside)).views] == ["certified"]
    await world.watchdog.reconcile()
    assert not_fenced(metrics) == 0


@pytest.mark.parametrize("accepted", ["a churn whose command never arrives", "a command under the churn's id"])
async def test_what_is_accepted_takes_the_place_of_a_dead_letter_by_itself(tmp_path: Path, accepted: str) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    await dead_lettered(world, message(world, tenant, events.TenantChurned(requested_by="op"), value=b"{}"))
    world.now += timedelta(days=2)
    is_churn = accepted == "a churn whose command never arrives"
    data = events.TenantChurned(requested_by="op") if is_churn else command(churn_purge_id(tenant))
    purge = service(world, "purge")
    given = await world.publish(tenant, data)
    await world.handle(purge, given)
    purge.positions[events.TENANTS] = len(world.bus.topics[events.TENANTS])
    await world.settle()
    await assert_certified_in_time(world, tenant, tmp_path)
    assert (await record_of(world, tenant)).requested_at == given.time


async def test_a_dead_letter_of_a_tenant_that_nobody_knows_or_that_is_purged_opens_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    await world.publish(tenant, command("p1"))
    await world.settle()
    before = await purges.purges(world.outside)
    for name in (tenant, "nobody", "no tenant's name"):
        headers = message(world, tenant, command("p9")).headers
        named = [(key, name.encode() if key == "ce_subject" else value) for key, value in headers]
        await dead_lettered(world, message(world, tenant, command("p9"), headers=named, key=b"x"))
    assert await purges.purges(world.outside) == before


async def test_a_dead_letter_lends_its_time_to_no_purge(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    purge = service(world, "purge")
    await dead_lettered(world, message(world, tenant, events.TenantChurned(requested_by="op"), value=b"{}"))
    world.now += timedelta(days=2)
    for purge_id in ("p1", churn_purge_id(tenant)):
        await world.handle(purge, await world.publish(tenant, command(purge_id)))
    assert (await record_of(world, tenant)).requested_at == world.now


async def test_however_many_dead_letters_ask_for_the_purge_of_a_tenant_one_purge_is_open(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    for number in range(5):
        headers = [*message(world, tenant, command(f"p{number}")).headers, ("sano_only_for", b"nobody")]
        await dead_lettered(world, message(world, tenant, command(f"p{number}"), headers=headers))
    [view] = (await purges.purges(world.outside)).views
    assert (view.purge_id, view.flags) == (churn_purge_id(tenant), ("not-fenced",))
    await world.publish(tenant, command("p1"))
    await world.settle()
    assert [view.purge_id for view in (await purges.purges(world.outside)).views] == ["p1"]


async def test_a_dead_letter_under_the_id_of_an_open_purge_changes_nothing_of_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    await world.handle(service(world, "purge"), await churned(world, tenant))
    before = await world.driver.records.read(tenant, churn_purge_id(tenant))
    world.now += timedelta(days=1)
    await dead_lettered(world, message(world, tenant, events.TenantChurned(requested_by="op"), value=b"{}"))
    assert await world.driver.records.read(tenant, churn_purge_id(tenant)) == before


# --- the folder of a purge's export


async def test_an_export_that_was_asked_for_under_the_id_of_a_later_purge_does_not_stand_for_the_purges_own(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1", POLICY.evolve(right_of_export=True))
    old = await learned(world, tenant)
    await world.publish(tenant, events.ExportRequested(export_id=churn_purge_id(tenant), requested_by="forger"))
    await world.settle()
    for number in range(3):
        await world.publish(tenant, await world.approval(tenant, f"later-{number}", text="later"))
    await world.settle()
    new = await world.served(tenant)
    assert new != old
    await churned(world, tenant)
    await world.settle()
    record = await record_of(world, tenant)
    assert record.export is not None
    assert (record.step, record.export.adapter_digest) == ("exported", new)
    store = await world.outside.store(tenant)
    for file in object_keys.ADAPTER_FILES:
        put_out, _ = await store.get(object_keys.export(record.purge_id, file))
        assert put_out == (await store.get(object_keys.adapter(new, file)))[0]
    taken = events.ExportAcknowledged(export_id=record.purge_id, adapter_digest=new, acknowledged_by="op")
    await world.publish(tenant, taken)
    await world.settle()
    await assert_purged(world, tenant)
