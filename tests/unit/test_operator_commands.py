"""Operators' commands: each is one event, or one swap of the tenant's state."""

from __future__ import annotations

import pytest

from consumers.adapters.handlers import on_adapter_ready
from consumers.purge.handlers import on_purge_requested
from producers.commands import requests
from producers.commands.onboarding import onboard
from producers.commands.requests import ActiveAdapter
from schemas.bus.envelope import Event
from schemas.bus.events import AdapterReady
from schemas.bus.outcome import Outcome
from schemas.objects.state import AdapterState
from tenancy.errors import Refused, TenantFenced, UnknownTenant
from tenancy.state.activation import retired
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import (
    NOW,
    Parts,
    adapters_ports,
    onboarded_parts,
    publish_adapter,
    purge_ports,
    purge_to_the_end,
)

TENANT = TenantId("t1")


@pytest.fixture
async def parts() -> Parts:
    return await onboarded_parts(TENANT)


async def test_each_training_command_is_a_run_of_its_own(parts: Parts) -> None:
    runs = {await requests.request_training(parts.tenancy, TENANT) for _ in range(2)}
    assert len(runs) == 2
    assert parts.types() == ["training.requested"] * 2
    assert len({event.id for event in parts.publisher.events}) == 2


async def test_no_command_creates_work_for_an_unknown_or_a_purged_tenant(parts: Parts) -> None:
    with pytest.raises(UnknownTenant):
        await requests.request_training(parts.tenancy, TenantId("nobody"))
    with pytest.raises(UnknownTenant):
        await requests.churn(parts.tenancy, TenantId("nobody"), requested_by="operator")
    await requests.churn(parts.tenancy, TENANT, requested_by="operator")
    await purge_to_the_end(parts)
    parts.publisher.events.clear()
    with pytest.raises(TenantFenced):
        await requests.request_training(parts.tenancy, TENANT)
    with pytest.raises(TenantFenced):
        await requests.request_export(parts.tenancy, TENANT, requested_by="operator")
    assert parts.publisher.events == []


async def test_activation_and_rollback_go_there_and_back(parts: Parts) -> None:
    first, second = await publish_adapter(parts, TENANT, 1), await publish_adapter(parts, TENANT, 2)
    await requests.activate(parts.tenancy, TENANT, first)
    await requests.activate(parts.tenancy, TENANT, second)
    await requests.activate(parts.tenancy, TENANT, second)
    assert parts.types() == ["adapter.activated"] * 2
    assert await requests.rollback(parts.tenancy, TENANT) == ActiveAdapter(first, Outcome.EFFECT)
    assert await requests.rollback(parts.tenancy, TENANT, second) == ActiveAdapter(second, Outcome.EFFECT)
    assert (await parts.tenancy.states.read(TENANT)).state.active_adapter == second


async def activated(parts: Parts, count: int) -> list[str]:
    digests = [await publish_adapter(parts, TENANT, seed) for seed in range(count)]
    for digest in digests:
        await requests.activate(parts.tenancy, TENANT, digest)
    return digests


async def rolled_back(parts: Parts, digest: str | None = None) -> str | None:
    return (await requests.rollback(parts.tenancy, TENANT, digest)).digest


async def test_each_rollback_goes_further_back_and_never_to_what_one_left(parts: Parts) -> None:
    first, second, third = await activated(parts, 3)
    assert [await rolled_back(parts) for _ in range(3)] == [second, first, None]
    with pytest.raises(Refused, match="no active adapter to roll back"):
        await requests.rollback(parts.tenancy, TENANT)
    await requests.activate(parts.tenancy, TENANT, third)
    assert await rolled_back(parts) is None, "all others were left by a rollback and not activated since"


async def test_a_rollback_to_an_adapter_passes_over_those_between_like_single_steps(parts: Parts) -> None:
    first, second, third = await activated(parts, 3)
    assert await rolled_back(parts, first) == first
    state = (await parts.tenancy.states.read(TENANT)).state
    assert {digest for digest, adapter in state.adapters.items() if adapter.rolled_back} == {second, third}
    assert await rolled_back(parts) is None


async def test_what_a_rollback_left_is_returned_to_again_once_it_was_activated_again(parts: Parts) -> None:
    first, second, third = await activated(parts, 3)
    assert await rolled_back(parts) == second
    assert (await requests.activate(parts.tenancy, TENANT, third)).outcome is Outcome.EFFECT
    await requests.activate(parts.tenancy, TENANT, first)
    assert [await rolled_back(parts) for _ in range(3)] == [third, second, None]


async def test_a_command_whose_adapter_is_active_changes_nothing_and_says_so(parts: Parts) -> None:
    first, _ = await activated(parts, 2)
    await requests.rollback(parts.tenancy, TENANT, first)
    before, said = (await parts.tenancy.states.read(TENANT)).state, len(parts.types())
    for command in (requests.rollback, requests.activate):
        assert await command(parts.tenancy, TENANT, first) == ActiveAdapter(first, Outcome.NOOP_DUPLICATE)
    assert (await parts.tenancy.states.read(TENANT)).state == before
    assert len(parts.types()) == said


async def test_an_adapter_that_a_rollback_left_is_not_activated_by_its_readiness_again(parts: Parts) -> None:
    first, second = await activated(parts, 2)
    await requests.rollback(parts.tenancy, TENANT)
    ready = AdapterReady(adapter_digest=second, run_id="run-1", base_model_digest="a" * 64, size_bytes=1)
    event = Event(subject=TENANT, data=ready, time=NOW, source="/test")
    assert await on_adapter_ready(event, adapters_ports(parts)) == Outcome.NOOP_DUPLICATE
    assert (await parts.tenancy.states.read(TENANT)).state.active_adapter == first


async def test_where_the_active_adapter_is_retired_neither_a_retired_nor_a_rolled_back_one_takes_its_place(
    parts: Parts,
) -> None:
    first, second, third, fourth = await activated(parts, 4)
    assert await rolled_back(parts) == third
    retire = retired(
        {second: await adapter(parts, second), third: await adapter(parts, third)},
        "withdrawn-example",
        parts.tenancy.outbox.entry,
    )
    await parts.tenancy.outbox.swap(TENANT, retire)
    state = (await parts.tenancy.states.read(TENANT)).state
    assert state.active_adapter == first
    assert state.adapters[fourth].status == "ready"
    with pytest.raises(Refused, match="no ready adapter"):
        await requests.rollback(parts.tenancy, TENANT, second)
    assert await rolled_back(parts) is None


async def adapter(parts: Parts, digest: str) -> AdapterState:
    return (await parts.tenancy.states.read(TENANT)).state.adapters[digest]


async def test_without_an_earlier_adapter_a_rollback_ends_at_the_base_model(parts: Parts) -> None:
    only = await publish_adapter(parts, TENANT)
    with pytest.raises(Refused, match="no active adapter to roll back"):
        await requests.rollback(parts.tenancy, TENANT)
    await requests.activate(parts.tenancy, TENANT, only)
    assert await requests.rollback(parts.tenancy, TENANT) == ActiveAdapter(None, Outcome.EFFECT)


async def test_an_adapter_of_another_tenant_cannot_be_activated(parts: Parts) -> None:
    other = TenantId("t2")
    await onboard(parts.tenancy, other)
    foreign = await publish_adapter(parts, other)
    with pytest.raises(Refused, match="no ready adapter of this digest"):
        await requests.activate(parts.tenancy, TENANT, foreign)


async def test_churning_twice_is_one_event_and_one_purge(parts: Parts) -> None:
    for _ in range(2):
        await requests.churn(parts.tenancy, TENANT, requested_by="operator")
    assert len({event.id for event in parts.publisher.events}) == 1


async def test_a_purge_of_a_tenant_that_is_being_purged_is_that_purge(parts: Parts) -> None:
    first = await requests.request_purge(parts.tenancy, TENANT, requested_by="operator")
    await on_purge_requested(parts.publisher.events[-1], purge_ports(parts))
    parts.publisher.events.clear()
    assert await requests.request_purge(parts.tenancy, TENANT, requested_by="operator") == first
    assert parts.publisher.events == []
