"""``tenant.onboarded`` where the tenant is not known: its state begins; and that of a purged one does not."""

from __future__ import annotations

import pytest

from consumers.purge.onboarding import on_tenant_onboarded
from producers.commands.onboarding import onboard
from schemas.bus.envelope import Event
from schemas.bus.events import TenantOnboarded
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.tenant.policy import TenantPolicy
from tenancy.errors import Refused, TenantFenced, UnknownTenant
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import Parts, purge_ports
from tests.world.crashes import CrashAt, SimulatedCrash
from tests.world.effects import ObservedObjectStore

TENANT = TenantId("t1")
POLICY = TenantPolicy(min_new_examples=7, activation="manual")


async def _onboarded() -> tuple[Parts, Event[TenantOnboarded]]:
    parts = Parts()
    await onboard(parts.tenancy, TENANT, POLICY)
    return parts, parts.publisher.events[-1]


async def _without_state(parts: Parts) -> None:
    """An empty installation that was given the tenant's key, and nothing else of the registry."""
    parts.objects.objects.pop(object_keys.state_key(TENANT))


async def test_where_the_tenant_is_known_nothing_is_done() -> None:
    parts, event = await _onboarded()
    before = dict(parts.objects.objects)
    assert await on_tenant_onboarded(event, purge_ports(parts)) == Outcome.NOOP_DUPLICATE
    assert parts.objects.objects == before


async def test_a_state_begins_with_the_policy_of_the_event_once() -> None:
    parts, event = await _onboarded()
    await _without_state(parts)
    assert await on_tenant_onboarded(event, purge_ports(parts)) == Outcome.EFFECT
    state = (await parts.tenancy.states.read(TENANT)).state
    assert (state.status, state.policy, state.rev) == ("active", POLICY, 1)
    assert await on_tenant_onboarded(event, purge_ports(parts)) == Outcome.NOOP_DUPLICATE


async def test_without_its_key_a_tenant_does_not_begin_and_is_unknown() -> None:
    parts, event = await _onboarded()
    await _without_state(parts)
    await parts.tenancy.keys.destroy(TENANT)
    with pytest.raises(UnknownTenant):
        await on_tenant_onboarded(event, purge_ports(parts))
    with pytest.raises(UnknownTenant):
        await parts.tenancy.states.read(TENANT)


async def test_with_another_key_than_the_events_a_tenant_does_not_begin() -> None:
    parts, event = await _onboarded()
    await _without_state(parts)
    await parts.tenancy.keys.destroy(TENANT)
    await parts.tenancy.keys.create(TENANT)
    with pytest.raises(Refused, match="not the one that it was onboarded with"):
        await on_tenant_onboarded(event, purge_ports(parts))
    with pytest.raises(UnknownTenant):
        await parts.tenancy.states.read(TENANT)


@pytest.mark.parametrize("status", ["purging", "purged"])
@pytest.mark.parametrize("has_key", [True, False])
async def test_a_purged_tenant_does_not_come_back(status: str, has_key: bool) -> None:
    parts, event = await _onboarded()
    await parts.tenancy.states.swap(TENANT, lambda state: state.evolve(status=status))
    if not has_key:
        await parts.tenancy.keys.destroy(TENANT)
    before = dict(parts.objects.objects)
    with pytest.raises(TenantFenced):
        await on_tenant_onboarded(event, purge_ports(parts))
    assert parts.objects.objects == before


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_kill_at_its_only_effect_leaves_nothing_half_done(when: str) -> None:
    parts, event = await _onboarded()
    await _without_state(parts)
    whole = parts.tenancy
    crash = CrashAt(0, when)
    killed = Parts(objects=ObservedObjectStore(parts.objects, crash))  # type: ignore[arg-type]
    with pytest.raises(SimulatedCrash):
        await on_tenant_onboarded(event, purge_ports(killed))
    assert crash.effects == ["swap:state"]
    expected = Outcome.EFFECT if when == "before" else Outcome.NOOP_DUPLICATE
    assert await on_tenant_onboarded(event, purge_ports(parts)) == expected
    assert (await whole.states.read(TENANT)).state.policy == POLICY
