"""Every event delivered any number of times, in every order that its topic allows, gives the same final state.

What a topic allows: one tenant's events of one topic come in order, and a consumer may be taken back to any earlier
position at any moment. Between topics there is no order at all.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumers.training.freeze import eligible
from producers.commands import legal_holds
from schemas.bus import events
from schemas.bus.outcome import Outcome
from schemas.tenant.policy import TenantPolicy
from tenancy.tenant_id import TenantId
from tests.fixtures.examples import examples
from tests.invariants.decisions import Decision, decisions, event_of, unique
from tests.world.summary import everything_again, summary
from tests.world.world import POLICY, World

# No batch completes: what a batch trains on depends, rightly, on what was eligible when it was frozen.
NO_BATCH = TenantPolicy(min_new_examples=100)


async def _delivered(history: list[Decision], rewinds: list[int]) -> tuple[dict[str, Any], World]:
    with tempfile.TemporaryDirectory() as scratch:
        world = World(Path(scratch))
        tenant = await world.onboard("t1", NO_BATCH)
        data = [await event_of(world, tenant, made) for made in history]
        jumps = list(rewinds)
        for one in data:
            await world.publish(tenant, one)
            await world.step()
            if jumps:
                position = world.services[0].positions.get(events.CURATION, 0)
                back = max(0, position - jumps.pop(0))
                world.rewind("curation", events.CURATION, back)
                world.rewind("ledger", events.CURATION, back)
                while await world.step():
                    pass
        await world.settle()
        found = await summary(world, tenant)
        for record in found["records"]:
            record.pop("commitment", None)
        # The bus holds what the test published; what handlers published is compared.
        return found, world


@examples(12)
@given(st.lists(decisions, min_size=1, max_size=14).map(unique), st.lists(st.integers(0, 14), max_size=14))
def test_redelivery_from_any_position_gives_the_same_state(history: list[Decision], rewinds: list[int]) -> None:
    async def both() -> None:
        once, _ = await _delivered(history, [])
        often, _ = await _delivered(history, rewinds)
        assert often == once

    asyncio.run(both())


FORBIDDEN_LATER: list[Decision] = [
    ("grant", "consent-1", 1),
    ("approve", "e1", 1, "consent-1"),
    ("reject", "e1", 1),
    ("approve", "e2", 1, "consent-2"),
    ("grant", "consent-2", 1),
    ("revoke", "consent-2", 1),
    ("approve", "e3", 1, "consent-1"),
]


async def _decided(history: list[Decision]) -> dict[str, Any]:
    """What holds of each example and consent in the end, and what may be trained on."""
    found, world = await _delivered(history, [])
    store = await world.outside.store(TenantId("t1"))
    return {
        "eligible": [(entry.example_id, entry.version) for entry in await eligible(store, NO_BATCH, world.now)],
        "examples": [
            (record["example_id"], record["status"], record["status"] == "withdrawn" or record["version"])
            for record in found["records"]
            if "status" in record
        ],
        "consents": [
            (record["consent_id"], record["version"], record["granted"])
            for record in found["records"]
            if "granted" in record
        ],
    }


@example((FORBIDDEN_LATER, FORBIDDEN_LATER[::-1]))
@examples(12)
@given(
    st.lists(decisions, min_size=1, max_size=14)
    .map(unique)
    .flatmap(lambda history: st.tuples(st.just(history), st.permutations(history)))
)
def test_what_may_be_trained_on_does_not_depend_on_which_decision_came_first(
    orders: tuple[list[Decision], list[Decision]],
) -> None:
    """Of one version too: the word that forbids holds, whether it was said before or after the one that allows."""

    async def both() -> None:
        assert await _decided(orders[0]) == await _decided(orders[1])

    asyncio.run(both())


@pytest.mark.parametrize("in_order", [1, -1])
async def test_a_rejection_and_a_revocation_of_the_version_that_was_allowed_hold(in_order: int) -> None:
    assert (await _decided(FORBIDDEN_LATER[::in_order]))["eligible"] == [("e3", 1)]


async def test_a_full_replay_of_every_topic_has_no_effect(tmp_path: Path) -> None:
    world, tenant = await _finished(tmp_path)
    await everything_again(world, tenant)


async def test_a_full_replay_after_a_purge_leaves_the_prefix_empty(tmp_path: Path) -> None:
    world, tenant = await _finished(tmp_path)
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    found = await everything_again(world, tenant)
    assert found["state"]["status"] == "purged"
    assert found["keys"] == []


async def test_a_full_replay_at_every_step_of_a_purge_that_waits_changes_nothing(tmp_path: Path) -> None:
    """With a right of export and a hold that is released later; everything comes again at each stop, and at the end."""
    world, tenant = await _finished(tmp_path, POLICY.evolve(right_of_export=True))
    await legal_holds.place(world.outside, tenant, reason_code="litigation", placed_by="op", hold_id="h1")
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    purge = (await world.state(tenant)).purge
    assert purge is not None
    assert purge.export_digest is not None
    taken = events.ExportAcknowledged(
        export_id=purge.purge_id, adapter_digest=purge.export_digest, acknowledged_by="op"
    )
    stops = []

    async def again() -> None:
        stops.append((await everything_again(world, tenant))["purge"]["step"])

    await again()
    await world.publish(tenant, taken)
    await world.settle()
    await again()
    await legal_holds.release(world.outside, tenant, "h1", released_by="op")
    await world.settle()
    await again()
    assert stops == ["exported", "acknowledged", "certified"]
    assert (await summary(world, tenant))["keys"] == []


async def test_an_acknowledgement_that_comes_before_the_purge_counts_for_nothing(tmp_path: Path) -> None:
    world, tenant = await _finished(tmp_path, POLICY.evolve(right_of_export=True))
    digest = (await world.state(tenant)).active_adapter
    early = events.ExportAcknowledged(export_id="p1", adapter_digest=str(digest), acknowledged_by="op")
    await world.publish(tenant, early)
    await world.publish(tenant, events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"))
    await world.settle()
    assert (await world.driver.records.read(tenant, "p1")).step == "exported"
    world.rewind("purge", events.TENANTS)
    await world.settle()
    assert (await world.driver.records.read(tenant, "p1")).step == "certified", "now it speaks of what was put out"


async def test_topics_may_overtake_each_other(tmp_path: Path) -> None:
    """The purge command arrives before anything else of the tenant: nothing of the tenant ever comes to be."""
    world = World(tmp_path)
    tenant = await world.onboard("t1")
    approvals = [await world.approval(tenant, f"e{number}") for number in range(3)]
    await world.publish(tenant, events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"))
    await world.settle()
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for approval in approvals:
        await world.publish(tenant, approval)
    await world.publish(tenant, events.TrainingRequested(run_id="r1", trigger="operator"))
    await world.publish(tenant, events.ExportRequested(export_id="x1", requested_by="op"))
    await world.publish(tenant, events.UsageRecorded(usage_id="u1", source="inference"))
    await world.settle()
    late = ("sano.consent", "sano.example", "sano.training", "sano.export", "sano.usage")
    outcomes = [outcome for _, kind, outcome in world.outcomes if kind.startswith(late)]
    # Each is refused by the consumer that would act on it, and each but the usage noted as refused by the ledger.
    assert outcomes == [Outcome.REFUSED_PURGED] * (7 + 6)
    found = await summary(world, tenant)
    assert found["keys"] == []
    assert found["state"]["status"] == "purged"


async def _finished(scratch: Path, policy: TenantPolicy = POLICY) -> tuple[World, TenantId]:
    """A tenant with a trained, activated and loaded adapter, an export, usage and a rejection."""
    world = World(scratch)
    tenant = await world.onboard("t1", policy)
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for number in range(3):
        await world.publish(tenant, await world.approval(tenant, f"e{number}"))
    await world.publish(
        tenant, events.ExampleRejected(example_id="e9", version=1, reviewer_id="rev-1", reason_code="unclear")
    )
    await world.publish(tenant, events.UsageRecorded(usage_id="u1", source="inference", prompt_tokens=3))
    await world.settle()
    await world.publish(tenant, events.ExportRequested(export_id="x1", requested_by="op"))
    await world.settle()
    await world.served(tenant)
    await world.settle()  # the load is entered into the audit log beside the events
    return world, tenant
