"""Any history of decisions, with the batches that it completes and the withdrawals that adapters are retired for.

What a batch trains on is, rightly, what is eligible when its run starts. So the next decision is published when what
the one before set off is done; up to there, and for all that comes again, every order is tried.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from schemas.bus import events
from schemas.tenant.policy import TenantPolicy
from tenancy.tenant_id import TenantId
from tests.fixtures.examples import examples
from tests.invariants.decisions import CONSENTS, EXAMPLES, Decision, decisions, event_of, unique
from tests.world.deliveries import Deliveries, Stage, stages
from tests.world.final_state import final_state

TENANT = "t1"

policies = st.builds(
    TenantPolicy,
    min_new_examples=st.sampled_from([2, 1, 3]),
    min_training_examples=st.integers(1, 2),
    on_withdrawal=st.sampled_from(["retrain", "stop", "flag"]),
    require_consent=st.booleans(),
)
# Mostly approvals, under consents that are there: else few batches are completed.
GRANTED: list[Decision] = [("grant", consent, 1) for consent in CONSENTS]
approvals = st.tuples(st.just("approve"), st.sampled_from(EXAMPLES), st.integers(1, 2), st.sampled_from(CONSENTS))
histories = st.tuples(
    st.lists(approvals, min_size=2, max_size=6),
    st.lists(decisions, max_size=5),
    st.lists(approvals, max_size=4),
    st.lists(decisions, max_size=3),
).map(lambda parts: unique([*GRANTED, *parts[0], *parts[1], *parts[2], *parts[3]]))


@dataclass
class Told:
    """A history that is told decision by decision, and the decisions that set something off, after which one waits.

    Texts are uploaded before anything is told: what a decision finds of a later one's must not differ by the stages.
    """

    history: list[Decision]
    set_off: list[int] = field(default_factory=list)
    data: list[events.EventData] = field(default_factory=list)

    def life(self, world: Deliveries, tenant: TenantId, ends: list[int]) -> list[Callable[[], Awaitable[None]]]:
        """One stage for the decisions up to and with each of ``ends``."""
        starts = [0, *(end + 1 for end in ends)]

        def stage(start: int, end: int) -> Callable[[], Awaitable[None]]:
            async def publish() -> None:
                if start == 0:
                    self.data = [await event_of(world, tenant, made) for made in self.history]
                for data in self.data[start : end + 1]:
                    await world.publish(tenant, data)

            return publish

        return [stage(start, end) for start, end in zip(starts, [*ends, len(self.history) - 1], strict=True)]

    async def one_by_one(self, world: Deliveries, tenant: TenantId) -> None:
        """The straight run, which also finds out what sets something off."""
        published = 0

        def elsewhere() -> int:
            return sum(len(log) for topic, log in world.bus.topics.items() if topic != events.CURATION)

        life = self.life(world, tenant, list(range(len(self.history) - 1)))

        def watched(number: int, publish: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
            async def noting() -> None:
                nonlocal published
                if elsewhere() > published:
                    self.set_off.append(number - 1)
                published = elsewhere()
                await publish()

            return noting

        await world.run([watched(number, publish) for number, publish in enumerate(life)])

    def ends(self) -> list[int]:
        """A withdrawal too may set something off, also one that finds no adapter: its receipt says what it found."""
        withdrawn = [number for number, made in enumerate(self.history) if made[0] in ("withdraw", "revoke")]
        return sorted({*self.set_off, *withdrawn} - {len(self.history) - 1})


async def _both(policy: TenantPolicy, history: list[Decision], schedule: list[Stage]) -> tuple[Any, Any]:
    told = Told(history)
    with tempfile.TemporaryDirectory() as scratch:
        world = Deliveries(Path(scratch) / "once")
        tenant = await world.onboard(TENANT, policy)
        await told.one_by_one(world, tenant)
        once = await final_state(world, tenant)
        event(f"{once['state']['curation']['batches']} batches")
        event(f"{sum(kind.startswith('withdrawal.closed') for kind in once['audit']['said'])} withdrawals closed")
        world = Deliveries(Path(scratch) / "often")
        tenant = await world.onboard(TENANT, policy)
        await world.run(told.life(world, tenant, told.ends()), schedule)
        return once, await final_state(world, tenant)


@examples(17)
@given(
    policies,
    histories,
    st.lists(stages([TENANT], max_moves=12, without=[events.TENANTS, events.USAGE]), min_size=3, max_size=8),
)
def test_decisions_that_come_again_and_in_any_order_give_the_same_batches_and_adapters(
    policy: TenantPolicy, history: list[Decision], schedule: list[Stage]
) -> None:
    once, often = asyncio.run(_both(policy, history, schedule))
    assert often == once
