"""What was withdrawn is in no adapter that stays, in whatever order a withdrawal, a training and the driver take turns.

The handling may die at any of its effects, and then comes again, later. Whatever its receipt says, says it of every
adapter that was published with the example.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.curation.handlers import on_consent_revoked, on_example_rejected, on_example_withdrawn
from consumers.training.worker import Worker
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from tenancy.bootstrap import Tenancy
from tenancy.errors import LeaseLost
from tenancy.state.leases import Leases
from tenancy.storage.objects import StoredObject
from tenancy.tenant_id import TenantId
from tests.fixtures.examples import examples
from tests.fixtures.gates import gate_of_tests
from tests.invariants.stepping import Process, SteppedStore, places, stepped
from tests.invariants.test_withdrawals import contained, policy, receipt, weights
from tests.invariants.worlds import event, service
from tests.world.world import LEASE_SECONDS, QUIESCE_SECONDS, World

Handling = Callable[[Event[Any], Tenancy], Awaitable[Outcome]]

HANDLINGS: dict[str, tuple[Handling, events.EventData, str]] = {
    "withdrawal": (
        on_example_withdrawn,
        events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"),
        "e0",
    ),
    "revocation": (on_consent_revoked, events.ConsentRevoked(consent_id="consent-2", version=2), "e3"),
    "rejection": (
        on_example_rejected,
        events.ExampleRejected(example_id="e0", version=2, reviewer_id="rev-1", reason_code="unclear"),
        "e0",
    ),
}
"""How eligibility ends, and of which example."""


@dataclass
class Meeting:
    """A tenant whose first training begins while one of its examples is withdrawn. It can be set up again."""

    world: World
    tenant: TenantId
    handling: Handling
    event: Event
    example_id: str
    is_withdrawal: bool
    reads_too: bool = False

    @classmethod
    async def made(cls, scratch: Path, name: str, *, reads_too: bool = False) -> Meeting:
        world = World(scratch)
        tenant = await world.onboard("t1", policy("stop", automatic_training=False))
        for consent in ("consent-1", "consent-2"):
            await world.publish(tenant, events.ConsentGranted(consent_id=consent, version=1))
        for number in range(4):
            consent = "consent-2" if number == 3 else "consent-1"
            await world.publish(tenant, await world.approval(tenant, f"e{number}", consent=consent))
        await world.settle()
        asked = events.TrainingRequested(run_id="run-1", trigger="operator")
        await world.handle(service(world, "training"), event(tenant, asked, world))
        del world.memory.objects["replicas/replica-0.json"]  # no retirement waits for a replica here
        handling, data, example_id = HANDLINGS[name]
        return cls(world, tenant, handling, event(tenant, data, world), example_id, name != "rejection", reads_too)

    async def meet(self, schedule: list[tuple[str, int]]) -> tuple[Process, Process]:
        """Take turns as scheduled, a turn so many effects long; then everybody goes to the end, the driver last."""
        world = self.world
        objects = {key: list(versions) for key, versions in world.memory.objects.items()}
        topics = {name: list(log) for name, log in world.bus.topics.items()}
        now = world.now
        handler, worker = Process(), Process()
        at_its_end: list[str] | None = None
        await handler.start(self._again_where_it_changed(self._stepped(handler)))
        await worker.start(self._work(self._stepped(worker)))
        for who, effects in schedule:
            if who == "handler":
                await (handler.go(effects) if not handler.has_ended else asyncio.sleep(0))
            elif who == "worker":
                await worker.go(effects)
            elif who == "driver":
                await world.withdrawals.reconcile()
            else:
                await handler.die()
                await self._again_where_it_changed(world.outside)
            if at_its_end is None and (handler.has_ended or who == "redelivery"):
                at_its_end = await self._with_it()
        if not handler.has_ended:
            await handler.go()
        if at_its_end is None:
            at_its_end = await self._with_it()
        await worker.go()
        assert await self._again_where_it_changed(world.outside) is Outcome.NOOP_DUPLICATE
        for _ in range(3):
            await world.withdrawals.reconcile()
            world.now += timedelta(seconds=QUIESCE_SECONDS + 1)
        with_it = await self._with_it()
        assert with_it == at_its_end, "published with the example, and nobody could know"
        if self.is_withdrawal:
            await self._assert_nothing_stays(with_it)
        world.memory.objects, world.bus.topics, world.now = objects, topics, now
        return handler, worker

    def _stepped(self, process: Process) -> Tenancy:
        made = stepped(self.world, process)
        if self.reads_too:
            objects: Any = made.objects
            objects.__class__ = ReadsToo
        return made

    async def _again_where_it_changed(self, tenancy: Tenancy) -> Outcome | None:
        """With the runtime's retries."""
        for _ in range(5):
            with suppress(Exception):
                return await self.handling(self.event, tenancy)
        return None

    async def _work(self, tenancy: Tenancy) -> None:
        world, store = self.world, await tenancy.store(self.tenant)
        leases = Leases(store, tenancy.outbox, "worker", world.clock, LEASE_SECONDS)
        with suppress(LeaseLost):
            await Worker(
                tenancy, store, world.keys.manifest, world.trainer, gate_of_tests, leases, world.scratch
            ).attempt("run-1")

    async def _with_it(self) -> list[str]:
        """Every adapter that was published with the example."""
        state = await self.world.state(self.tenant)
        return [
            digest
            for digest in state.adapters
            if self.example_id in await contained(self.world, self.tenant, state, digest)
        ]

    async def _assert_nothing_stays(self, with_it: list[str]) -> None:
        world, tenant = self.world, self.tenant
        state = await world.state(tenant)
        for digest in with_it:
            assert state.adapters[digest].status == "retired"
            assert weights(world, tenant, digest) == []
        said = await receipt(world, tenant, self.event.id)
        assert [one.adapter_digest for one in said.affected] == with_it
        assert said.outcome == ("retired" if with_it else "not-affected")


class ReadsToo(SteppedStore):
    """Stops before each read that counts as well: of the state, of the example, of a consent. The worker reads other
    examples at the same time, and a process stops at one place.
    """

    async def get(self, key: str) -> StoredObject:
        if key.endswith(("/state.json", "/examples/e0")) or "/consents/" in key:
            await self._process.about_to(f"get {key}")
        return await self._inner.get(key)


@pytest.mark.spread
@pytest.mark.parametrize("name", HANDLINGS)
async def test_whatever_ends_eligibility_and_a_training_may_meet_at_any_effect_of_both(
    name: str, tmp_path: Path
) -> None:
    """Once the handling has ended no adapter is published with the example; a withdrawal retires what was before."""
    meeting = await Meeting.made(tmp_path, name)
    handler, worker = await meeting.meet([("worker", 1000)])
    assert len(handler.effects) >= 3
    assert len(worker.effects) > 12
    for done in places(handler.effects, 6):
        for trained in places(worker.effects):
            before = [("worker", trained), ("handler", done)]
            after = [("handler", done), ("worker", trained)]
            for first in (before, after) if done and trained else (before,):  # the same where one does nothing
                await meeting.meet([*first, ("handler", 1000), ("driver", 0), ("worker", 1000)])
                await meeting.meet([*first, ("redelivery", 0), ("driver", 0), ("worker", 1000)])
                await meeting.meet([*first, ("driver", 0), ("worker", 1000), ("driver", 0)])


@examples(20)
@given(
    st.sampled_from(sorted(HANDLINGS)),
    st.lists(
        st.tuples(st.sampled_from(["handler", "worker", "worker", "driver", "redelivery"]), st.integers(1, 9)),
        max_size=14,
    ),
)
def test_in_any_order_of_reads_and_writes_a_withdrawn_example_is_in_no_adapter_that_stays(
    name: str, schedule: list[tuple[str, int]]
) -> None:
    async def met() -> None:
        with tempfile.TemporaryDirectory() as scratch:
            meeting = await Meeting.made(Path(scratch), name, reads_too=True)
            await meeting.meet(schedule)

    asyncio.run(met())
