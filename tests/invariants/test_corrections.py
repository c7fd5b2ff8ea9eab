"""A corrected answer is a new example to train on, whichever batch the wrong one was in."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.bus import events
from tenancy.tenant_id import TenantId
from tests.world.world import POLICY, World

BATCH = tuple(f"e{number}" for number in range(POLICY.min_new_examples))


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def _approve(world: World, tenant: TenantId, *ids: str, version: int = 1, consent: str = "consent-1") -> None:
    for example_id in ids:
        await world.publish(tenant, await world.approval(tenant, example_id, version=version, consent=consent))
    await world.settle()


async def _onboarded(world: World) -> TenantId:
    tenant = await world.onboard("t1")
    for consent in ("consent-1", "consent-2"):
        await world.publish(tenant, events.ConsentGranted(consent_id=consent, version=1))
    return tenant


def _requested(world: World) -> int:
    return sum(isinstance(event.data, events.TrainingRequested) for event in world.bus.topics[events.TRAINING])


async def test_the_corrected_answers_of_the_last_batch_make_the_next_once(world: World) -> None:
    tenant = await _onboarded(world)
    await _approve(world, tenant, *BATCH)
    assert _requested(world) == 1
    await _approve(world, tenant, *BATCH, version=2)
    assert _requested(world) == 2
    world.rewind("curation", events.CURATION)
    await world.settle()
    assert _requested(world) == 2, "what comes again corrects nothing"
    assert (await world.state(tenant)).curation.fresh == ()


async def test_what_was_rejected_and_approved_in_a_later_version_counts(world: World) -> None:
    tenant = await _onboarded(world)
    await _approve(world, tenant, *BATCH)
    for example_id in BATCH:
        rejected = events.ExampleRejected(example_id=example_id, version=2, reviewer_id="rev-1", reason_code="wrong")
        await world.publish(tenant, rejected)
    await _approve(world, tenant, *BATCH, version=3)
    assert _requested(world) == 2


async def test_an_example_counts_once_with_the_consent_of_its_latest_version(world: World) -> None:
    tenant = await _onboarded(world)
    await _approve(world, tenant, "e0")
    await _approve(world, tenant, "e0", version=2, consent="consent-2")
    await world.publish(tenant, events.ConsentRevoked(consent_id="consent-1", version=2))
    await world.settle()
    [held] = (await world.state(tenant)).curation.fresh
    assert (held.example_id, held.version, held.consent_id) == ("e0", 2, "consent-2")
