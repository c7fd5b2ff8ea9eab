"""Onboarding: keys, then state, then the word of it; again is no change, and a purged id is never given out again."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from producers.commands import requests
from producers.commands.onboarding import onboard
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from schemas.tenant.policy import TenantPolicy
from tenancy.errors import KeyDestroyed, Refused, TenantFenced
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import Parts, onboarded_parts, purge_to_the_end

TENANT = TenantId("t1")


@pytest.fixture
async def parts() -> Parts:
    return await onboarded_parts(TENANT)


async def test_onboarding_makes_keys_and_state_and_says_so() -> None:
    parts = Parts()
    onboarded = await onboard(parts.tenancy, TENANT, TenantPolicy(min_new_examples=3))
    assert onboarded.created
    assert parts.stored_keys() == ["registry/t1/key.json", "registry/t1/state.json"]
    assert (await parts.tenancy.states.read(TENANT)).state.policy.min_new_examples == 3
    assert onboarded.public_key_thumbprint == (await parts.tenancy.keys.open(TENANT)).thumbprint()
    assert parts.types() == ["tenant.onboarded"]


async def test_onboarding_again_keeps_keys_and_state_and_repeats_the_same_event(parts: Parts) -> None:
    before = {key: parts.objects.objects[key] for key in parts.stored_keys()}
    again = await onboard(parts.tenancy, TENANT)
    assert not again.created
    assert {key: parts.objects.objects[key] for key in parts.stored_keys()} == before
    assert (await onboard(parts.tenancy, TENANT)).event_id == again.event_id


async def test_an_onboarding_that_stopped_after_the_keys_goes_on_with_those_keys() -> None:
    parts = Parts()
    keys = await parts.tenancy.keys.create(TENANT)
    onboarded = await onboard(parts.tenancy, TENANT)
    assert (onboarded.created, onboarded.public_key_thumbprint) == (True, keys.thumbprint())


async def test_another_policy_for_a_known_tenant_is_refused(parts: Parts) -> None:
    with pytest.raises(Refused, match="with another policy"):
        await onboard(parts.tenancy, TENANT, TenantPolicy(min_new_examples=5))
    assert parts.publisher.events == []


async def test_an_id_that_was_purged_is_never_given_out_again(parts: Parts) -> None:
    await requests.churn(parts.tenancy, TENANT, requested_by="operator")
    await purge_to_the_end(parts)
    with pytest.raises(TenantFenced):
        await onboard(parts.tenancy, TENANT)
    assert "registry/t1/key.json" not in parts.stored_keys()


async def test_a_tenant_that_lost_its_key_is_not_given_a_new_one(parts: Parts) -> None:
    await parts.tenancy.keys.destroy(TENANT)
    with pytest.raises(KeyDestroyed):
        await onboard(parts.tenancy, TENANT)


@dataclass
class PurgedMeanwhile(MemoryObjectStore):
    """The tenant is onboarded and purged by others between this onboarding's first look and its state."""

    fenced_state: bytes = b""

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        if key == object_keys.state_key(TENANT) and if_absent:
            await super().put(key, self.fenced_state)
        return await super().put(key, body, if_absent=if_absent, if_match=if_match)


async def test_a_key_that_was_made_for_a_tenant_purged_meanwhile_is_destroyed() -> None:
    fenced = TenantState(tenant=TENANT, status="purging", nonce="n").model_dump_json().encode()
    parts = Parts(objects=PurgedMeanwhile(fenced_state=fenced))
    with pytest.raises(TenantFenced):
        await onboard(parts.tenancy, TENANT)
    assert parts.stored_keys() == ["registry/t1/state.json"]
    assert parts.publisher.events == []
