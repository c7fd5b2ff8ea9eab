"""A tenant's policy can change: the highest version is in force for what is decided next, and no promise moves."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.purge.fence import record_request
from consumers.purge.policy_changes import on_policy_changed
from producers.commands.policies import policy_of, set_policy
from producers.queries import audit_log
from producers.queries.audit_copy import read_copy
from producers.queries.lineage import lineage
from schemas.bus import events
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.withdrawals import WithdrawalRecord
from schemas.tenant.policy import TenantPolicy
from tenancy.errors import Refused, TenantFenced
from tenancy.state.policy_changes import policy_set
from tests.invariants.test_withdrawals import policy, trained, withdrawn
from tests.invariants.worlds import event, purged, service
from tests.world.summary import everything_again
from tests.world.world import POLICY, World

CHANGES = [
    events.PolicyChanged(version=version, policy=TenantPolicy(deletion_sla_days=days))
    for version, days in ((2, 20), (3, 40), (5, 10))
]


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
async def test_the_highest_version_is_in_force_in_whatever_order_they_come(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    for number in (*order, *order):
        await world.publish(tenant, CHANGES[number])
    await world.settle()
    state = await world.state(tenant)
    assert (state.policy, state.policy_version) == (CHANGES[-1].policy, 5)
    await everything_again(world, tenant)
    assert (await world.state(tenant)).rev == state.rev


async def test_of_two_policies_under_one_version_the_second_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    purge = service(world, "purge")
    first, second = CHANGES[0], events.PolicyChanged(version=2, policy=TenantPolicy(deletion_sla_days=50))
    assert await world.handle(purge, event(tenant, first, world)) is Outcome.EFFECT
    with pytest.raises(Refused, match="says something else already"):
        await on_policy_changed(event(tenant, second, world), purge.ports)
    assert (await world.state(tenant)).policy == first.policy


async def test_a_policy_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    contradictory = TenantPolicy(right_of_export=True, export_wait_days=9, deletion_sla_days=8)
    told = event(tenant, events.PolicyChanged(version=2, policy=contradictory), world)
    with pytest.raises(Refused, match="must be less than"):
        await on_policy_changed(told, service(world, "purge").ports)
    assert (await world.state(tenant)).policy_version == 1


async def test_a_purged_tenant_gets_no_other_policy(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    await purged(world, tenant)
    told = event(tenant, CHANGES[-1], world)
    with pytest.raises(TenantFenced):
        await on_policy_changed(told, service(world, "purge").ports)
    with pytest.raises(TenantFenced):
        await set_policy(world.outside, tenant, {"deletion_sla_days": 9})
    assert (await world.state(tenant)).policy == POLICY


async def test_a_command_that_is_given_twice_publishes_one_event_that_changes_nothing_more(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    first = await set_policy(world.outside, tenant, {"learning_rate": 0.002}, requested_by="op-1")
    again = await set_policy(world.outside, tenant, {"learning_rate": 0.002}, requested_by="op-2")
    assert (first.version, first.changed, again.version, again.changed) == (2, True, 2, False)
    told = [one for one in world.bus.topics[events.TENANTS] if isinstance(one.data, events.PolicyChanged)]
    assert {one.id for one in told} == {told[0].id} and {one.data for one in told} == {told[0].data}
    await world.settle()
    assert await policy_of(world.outside, tenant) == again
    kinds = [entry.kind for entry in audit_log.entries_of(await read_copy(world.outside, tenant))]
    assert kinds.count("tenant.policy_changed") == 1


async def test_a_version_that_was_never_told_of_is_told_before_the_next_one_is_made(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    await world.outside.states.swap(tenant, policy_set({"learning_rate": 0.002}, "op-1"))  # and killed then
    with pytest.raises(Refused):
        await set_policy(world.outside, tenant, {"learning_rate": -1})
    assert (await set_policy(world.outside, tenant, {"r": 8}, requested_by="op-2")).version == 3
    told = [one.data for one in world.bus.topics[events.TENANTS] if isinstance(one.data, events.PolicyChanged)]
    assert [(one.version, one.requested_by) for one in told] == [(2, "op-1"), (3, "op-2")]
    await world.settle()
    entries = audit_log.entries_of(await read_copy(world.outside, tenant))
    assert [entry.kind for entry in entries].count("tenant.policy_changed") == 2


async def test_the_next_approval_counts_towards_the_new_number_and_the_manifest_names_the_version(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1", policy("flag", min_new_examples=100))
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for number in range(2):
        await world.publish(tenant, await world.approval(tenant, f"e{number}"))
    await world.settle()
    assert (await world.state(tenant)).runs == {}
    await set_policy(world.outside, tenant, {"min_new_examples": 3, "learning_rate": 0.002})
    await world.publish(tenant, await world.approval(tenant, "e2"))
    await world.settle()
    digest = (await world.state(tenant)).active_adapter
    assert digest is not None
    made = await lineage(world.outside, tenant, digest, world.keys.trust)
    assert (made.policy_version, made.hyperparameters.learning_rate, len(made.examples)) == (2, 0.002, 3)


async def test_what_a_withdrawal_promised_stays_as_promised(tmp_path: Path) -> None:
    """A longer term of the next policy keeps no withdrawn example longer, and a shorter one retires nothing early."""
    world = World(tmp_path)
    tenant, old = await trained(world, policy("retrain", min_training_examples=4, retrain_within_days=3))
    withdrawal = await withdrawn(world, tenant)
    await set_policy(world.outside, tenant, {"retrain_within_days": 300})
    store = await world.outside.store(tenant)
    waiting, _ = await store.get_record(object_keys.open_withdrawal(withdrawal), WithdrawalRecord)
    assert waiting.deadline == waiting.withdrawn_at + timedelta(days=3)
    world.now = waiting.withdrawn_at + timedelta(days=3)
    await world.settle()
    assert (await world.state(tenant)).active_adapter is None
    assert (await world.state(tenant)).adapters[old].status == "retired"


async def test_what_a_purge_promised_when_it_was_asked_for_stays_as_promised(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    promised = POLICY.deletion_sla_days
    churned = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
    driver = service(world, "purge").ports.driver
    assert await record_request(event(tenant, churned, world), world.outside, driver.records)
    await set_policy(world.outside, tenant, {"deletion_sla_days": promised + 100})
    record = await driver.records.read(tenant, "p1")
    fenced = await driver.fence(record)
    assert (fenced.sla_days, fenced.deadline) == (promised, record.requested_at + timedelta(days=promised))
    [told] = [one.data for one in world.bus.topics[events.TENANTS] if isinstance(one.data, events.PurgeFenced)]
    assert told.deadline == fenced.deadline


async def test_a_change_that_no_policy_takes_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    before = await world.state(tenant)
    for changes in ({"deletion_sla_days": 2}, {"no_such_field": 1}, {"r": 7}):
        with pytest.raises(Refused, match="refused: "):
            await set_policy(world.outside, tenant, changes)
    assert await world.state(tenant) == before
