"""Every event of a whole life delivered again and again, in every order that its topics allow: the same final state.

The life is lived in stages, since there are things that nobody can ask for before others are there, such as an export
before an adapter. Within a stage every order of topics, tenants and consumers is tried; a group may be taken back to
any earlier offset at any time, to before the stage too.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producers.commands import requests
from schemas.bus import events
from schemas.objects.state import TenantState
from tenancy.state import archive
from tenancy.tenant_id import TenantId
from tests.fixtures.examples import examples
from tests.world.deliveries import READ, STRAIGHT, Deliveries, Stage, all_again, stages
from tests.world.final_state import canonical, difference, final_state
from tests.world.world import POLICY

TENANTS = ("t1", "t10")
EXPORTING = POLICY.evolve(right_of_export=True)

Life = list[Callable[[], Awaitable[None]]]


class Lives:
    """What two tenants do, stage by stage, in one world."""

    def __init__(self, world: Deliveries) -> None:
        self.world = world
        self.tenants = [TenantId(name) for name in TENANTS]

    def all(self) -> Life:
        return [
            self.onboarded,
            self.asked_too_early,
            self.taught,
            self.used,
            self.rolled_back,
            self.withdrawn,
            self.taught_more,
            self.churned,
            self.taken,
        ]

    async def _publish(self, *data: events.EventData) -> None:
        for tenant in self.tenants:
            for one in data:
                await self.world.publish(tenant, one)

    async def onboarded(self) -> None:
        """The keys are there, and the event: the state is made from it."""
        for tenant in self.tenants:
            keys = await self.world.outside.keys.create(tenant)
            self.world.public_keys[tenant] = keys.public_key
            policy = EXPORTING if tenant == TENANTS[0] else POLICY
            data = events.TenantOnboarded(policy=policy, public_key_thumbprint=keys.thumbprint())
            await self.world.publish(tenant, data)

    async def asked_too_early(self) -> None:
        """An export while there is no adapter: it is refused, and stays so when there is one."""
        await self._publish(events.ExportRequested(export_id="x0", requested_by="op"))

    async def taught(self) -> None:
        """Decisions of every kind; the last one completes a batch."""
        for tenant in self.tenants:
            decided: list[events.EventData] = [
                events.ConsentGranted(consent_id="consent-1", version=1),
                await self.world.approval(tenant, "e0", text=tenant),
                await self.world.approval(tenant, "e0", version=2, text=tenant),
                events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"),
                events.ExampleRejected(example_id="e9", version=1, reviewer_id="rev-1", reason_code="unclear"),
                await self.world.approval(tenant, "e1", consent="consent-2", text=tenant),
                events.ConsentGranted(consent_id="consent-2", version=1),
                *self._reviewed(tenant),
                *[await self.world.approval(tenant, f"e{number}", text=tenant) for number in (2, 3)],
            ]
            for data in decided:
                await self.world.publish(tenant, data)

    def _reviewed(self, tenant: TenantId) -> list[events.EventData]:
        """Proposals: one is rejected, one edited; what is approved waits for consent that nobody gives."""
        first, second = [self.world.proposal(tenant, name, consent="consent-9") for name in ("e11", "e12")]
        edit = self.world.proposal(tenant, "e12", version=2, consent="consent-9")
        early, late = self.world.review(first, "rev-1", "rejected"), self.world.review(edit, "rev-2")
        return [first, early, second, edit, self.world.review(second, "rev-1"), late]

    async def used(self) -> None:
        """Also a training by hand, which gives the same adapter."""
        for tenant in self.tenants:
            await self._load(tenant)
        await self._publish(
            events.UsageRecorded(usage_id="u1", source="inference", prompt_tokens=3),
            events.ExportRequested(export_id="x1", requested_by="op"),
            events.TrainingRequested(run_id="by-hand", trigger="operator"),
        )

    async def rolled_back(self) -> None:
        """An operator goes back to the base model. That the adapter was ready once does not bring it back."""
        for tenant in self.tenants:
            await requests.rollback(self.world.outside, tenant)

    async def withdrawn(self) -> None:
        """Forward again, and what the adapter was trained on is withdrawn: another is trained, the old one goes."""
        for tenant in self.tenants:
            digest = (await self.world.state(tenant)).adapter_history[-1]
            await requests.activate(self.world.outside, tenant, digest)
        await self._publish(events.ExampleWithdrawn(example_id="e2", reason_code="patient-request"))

    async def taught_more(self) -> None:
        for tenant in self.tenants:
            for number in (5, 6, 7):
                await self.world.publish(tenant, await self.world.approval(tenant, f"e{number}", text=tenant))

    async def churned(self) -> None:
        await self._load(self.tenants[0])
        await self.world.publish(self.tenants[0], events.TenantChurned(requested_by="op"))

    async def taken(self) -> None:
        purge = (await self.world.state(self.tenants[0])).purge
        assert purge is not None
        assert purge.export_digest is not None
        taken = events.ExportAcknowledged(
            export_id=purge.purge_id, adapter_digest=purge.export_digest, acknowledged_by="op"
        )
        await self.world.publish(self.tenants[0], taken)

    async def at_once(self, churned_after: int) -> None:
        """Everything that does not need an answer first, with the one tenant's churn somewhere in between."""
        gone = self.tenants[0]
        asked: list[events.EventData] = [
            events.UsageRecorded(usage_id="u1", source="inference", prompt_tokens=3),
            events.TrainingRequested(run_id="by-hand", trigger="operator"),
            events.ExportRequested(export_id="x1", requested_by="op"),
            events.ExampleWithdrawn(example_id="e2", reason_code="patient-request"),
            events.ExportRequested(export_id="x2", requested_by="op"),
            events.PurgeRequested(purge_id="p1", reason_code="operator-request", requested_by="op"),
        ]
        await self.taught()
        for number, data in enumerate(asked):
            if number == churned_after:
                await self.world.publish(gone, events.TenantChurned(requested_by="op"))
            for tenant in self.tenants if not isinstance(data, events.PurgeRequested) else [gone]:
                await self.world.publish(tenant, data)
        if churned_after >= len(asked):
            await self.world.publish(gone, events.TenantChurned(requested_by="op"))

    async def _load(self, tenant: TenantId) -> None:
        active = (await self.world.state(tenant)).active_adapter
        assert active is not None
        async with self.world.placement.held(tenant, active):
            pass


async def _lived(schedule: tuple[Stage, ...]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        # So small that runs and adapters move out of the state, into the archive, within this life.
        patch.setattr(archive, "KEPT_RUNS", 1)
        patch.setattr(archive, "KEPT_ADAPTERS", 1)
        world = Deliveries(Path(scratch))
        await world.run(Lives(world).all(), schedule)
        return {tenant: await final_state(world, TenantId(tenant)) for tenant in TENANTS}


@cache
def _straight() -> dict[str, Any]:
    return asyncio.run(_lived(()))


def test_the_orders_are_of_all_that_every_consumer_reads(tmp_path: Path) -> None:
    unused = {events.OUTCOMES}  # nobody publishes there in this life
    assert {name: set(topics) for name, topics in READ.items()} == {
        service.name: set(service.topics) - unused for service in Deliveries(tmp_path).services
    }


@pytest.mark.parametrize(("stage", "in_runs"), [(STRAIGHT, False), (Stage(), True)])
async def test_a_schedule_handles_like_events_at_once_and_the_straight_run_each_by_itself(
    tmp_path: Path, stage: Stage, in_runs: bool
) -> None:
    world = Deliveries(tmp_path)
    await world.run(Lives(world).all()[:3], [stage] * 3)
    assert (world.in_runs > 0) is in_runs


def test_the_undisturbed_life_does_all_that_it_is_meant_to() -> None:
    gone, stays = _straight()["t1"], _straight()["t10"]
    assert (gone["state"]["status"], gone["purge"]["step"], gone["objects"]) == ("purged", "certified", {})
    assert gone["purge"]["export"]["acknowledged_by"] == "op"
    state = stays["state"]
    assert (state["curation"]["batches"], state["activations"], len(state["adapter_history"])) == (2, 6, 1)
    archived = [name for name in stays["objects"] if name.endswith(("/result.json", "/record.json"))]
    assert len(archived) == 5, "three runs and two adapters are in the archive"
    assert len([name for name in stays["objects"] if name.startswith("withdrawals/receipts/")]) == 2
    assert stays["objects"]["exports/x0/decision.json"]["refusal_code"] == "nothing-active"
    assert stays["objects"]["exports/x1/decision.json"]["adapter_digest"] is not None
    assert (stays["audit"]["problems"], stays["audit"]["unsigned"]) == ((), 0)


@example((all_again(TENANTS),) * 9)
@examples(8)
@given(st.tuples(*[stages(TENANTS)] * 9))
def test_a_life_whose_events_come_again_and_in_any_order_ends_as_it_does_undisturbed(
    schedule: tuple[Stage, ...],
) -> None:
    assert difference(asyncio.run(_lived(schedule)), _straight()) == ""


@examples(6)
@given(st.integers(0, 7), st.tuples(*[stages(TENANTS, max_moves=40)] * 2))
def test_a_purge_that_overtakes_or_is_overtaken_by_anything_ends_in_the_same_emptiness(
    churned_after: int, schedule: tuple[Stage, ...]
) -> None:
    """No stages but the onboarding: the churn is somewhere among all that the tenant ever asked for."""

    async def lived() -> None:
        with tempfile.TemporaryDirectory() as scratch:
            world = Deliveries(Path(scratch))
            lives = Lives(world)
            await world.run([lives.onboarded, lambda: lives.at_once(churned_after)], schedule)
            gone, stays = lives.tenants
            found = await final_state(world, gone)
            emptied = TenantState(tenant=gone, nonce="", status="purged", policy=EXPORTING)
            kept = {"fence", "purge"}
            assert {name: held for name, held in found["state"].items() if name not in kept} == {
                name: held for name, held in canonical(emptied.model_dump(mode="json")).items() if name not in kept
            }
            assert (found["objects"], found["has_key"], found["purge"]["step"]) == ({}, False, "certified")
            assert (found["audit"]["problems"], found["audit"]["unsigned"]) == ((), 0)
            of_who_stays = await world.state(stays)
            assert of_who_stays.active_adapter is not None
            assert set(found["loaded"]) <= of_who_stays.adapters.keys()

    asyncio.run(lived())
