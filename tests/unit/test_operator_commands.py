"""Operators' commands: each is one event, or one swap of the tenant's state."""

from __future__ import annotations

import pytest

from consumers.purge.handlers import on_purge_requested
from producers import commands
from producers.onboarding import onboard
from tenancy.errors import Refused, TenantFenced, UnknownTenant
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import Parts, onboarded_parts, publish_adapter, purge_ports, purge_to_the_end

TENANT = TenantId("t1")


@pytest.fixture
async def parts() -> Parts:
    return await onboarded_parts(TENANT)


async def test_each_training_command_is_a_run_of_its_own(parts: Parts) -> None:
    runs = {await commands.request_training(parts.tenancy, TENANT) for _ in range(2)}
    assert len(runs) == 2
    assert parts.types() == ["training.requested"] * 2
    assert len({event.id for event in parts.publisher.events}) == 2


async def test_no_command_creates_work_for_an_unknown_or_a_purged_tenant(parts: Parts) -> None:
    with pytest.raises(UnknownTenant):
        await commands.request_training(parts.tenancy, TenantId("nobody"))
    with pytest.raises(UnknownTenant):
        await commands.churn(parts.tenancy, TenantId("nobody"), requested_by="operator")
    await commands.churn(parts.tenancy, TENANT, requested_by="operator")
    await purge_to_the_end(parts)
    parts.publisher.events.clear()
    with pytest.raises(TenantFenced):
        await commands.request_training(parts.tenancy, TENANT)
    with pytest.raises(TenantFenced):
        await commands.request_export(parts.tenancy, TENANT, requested_by="operator")
    assert parts.publisher.events == []


async def test_activation_and_rollback_go_there_and_back(parts: Parts) -> None:
    first, second = await publish_adapter(parts, TENANT, 1), await publish_adapter(parts, TENANT, 2)
    await commands.activate(parts.tenancy, TENANT, first)
    await commands.activate(parts.tenancy, TENANT, second)
    await commands.activate(parts.tenancy, TENANT, second)
    assert parts.types() == ["adapter.activated"] * 2
    assert await commands.rollback(parts.tenancy, TENANT) == first
    assert await commands.rollback(parts.tenancy, TENANT, second) == second
    assert (await parts.tenancy.states.read(TENANT)).state.active_adapter == second


async def test_without_an_earlier_adapter_a_rollback_ends_at_the_base_model(parts: Parts) -> None:
    only = await publish_adapter(parts, TENANT)
    with pytest.raises(Refused, match="no active adapter to roll back"):
        await commands.rollback(parts.tenancy, TENANT)
    await commands.activate(parts.tenancy, TENANT, only)
    assert await commands.rollback(parts.tenancy, TENANT) is None


async def test_an_adapter_of_another_tenant_cannot_be_activated(parts: Parts) -> None:
    other = TenantId("t2")
    await onboard(parts.tenancy, other)
    foreign = await publish_adapter(parts, other)
    with pytest.raises(Refused, match="no ready adapter of this digest"):
        await commands.activate(parts.tenancy, TENANT, foreign)


async def test_churning_twice_is_one_event_and_one_purge(parts: Parts) -> None:
    for _ in range(2):
        await commands.churn(parts.tenancy, TENANT, requested_by="operator")
    assert len({event.id for event in parts.publisher.events}) == 1


async def test_a_purge_of_a_tenant_that_is_being_purged_is_that_purge(parts: Parts) -> None:
    first = await commands.request_purge(parts.tenancy, TENANT, requested_by="operator")
    await on_purge_requested(parts.publisher.events[-1], purge_ports(parts))
    parts.publisher.events.clear()
    assert await commands.request_purge(parts.tenancy, TENANT, requested_by="operator") == first
    assert parts.publisher.events == []
