"""A consent that is granted again while an adapter is retired for the lack of it: the adapter is saved, or it is
retired and erased, and the receipt says which, in whatever order two drivers and the grant take turns, and wherever one
of them dies.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from consumers.adapters.withdrawals import WithdrawalReconciler
from consumers.curation.handlers import on_consent_granted
from consumers.training.worker import Worker
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.objects import object_keys
from tenancy.state.leases import Leases
from tenancy.tenant_id import TenantId
from tests.fixtures.examples import examples
from tests.fixtures.gates import gate_of_tests
from tests.invariants.stepping import Process, stepped
from tests.invariants.test_withdrawals import contained, policy, receipt, trained, weights
from tests.invariants.worlds import event, service
from tests.world.moment import Timestamp
from tests.world.world import LEASE_SECONDS, QUIESCE_SECONDS, World

Turn = tuple[str, int]

REVOKED = events.ConsentRevoked(consent_id="consent-2", version=2)
GRANTED = events.ConsentGranted(consent_id="consent-2", version=3)
WITHDRAWN = events.ExampleWithdrawn(example_id="e0", reason_code="patient-request")
WHOLE = 1000


@dataclass
class Scene:
    """An adapter whose consent was revoked; the next look of a driver decides that it goes."""

    world: World
    tenant: TenantId
    digest: str
    revoked: Event
    moment: Timestamp

    @classmethod
    async def made(cls, scratch: Path) -> Scene:
        world = World(scratch)
        tenant, digest = await trained(world, policy("stop"))
        del world.memory.objects["replicas/replica-0.json"]  # no retirement waits for a replica here
        revoked = event(tenant, REVOKED, world)
        await world.handle(service(world, "curation"), revoked)
        return cls(world, tenant, digest, revoked, Timestamp.of(world))

    async def meet(self, schedule: list[Turn]) -> tuple[str, dict[str, Process]]:
        """Take turns as scheduled, a turn so many effects long; then whoever is alive goes to the end. Returns what the
        receipt says, and the processes.
        """
        self.moment.again(self.world)
        started = self.world.now
        processes = {name: Process() for name in ("first", "second", "grant")}
        for who, effects in schedule:
            if who != "death":
                await self._go(who, processes[who], effects)
            elif processes["first"].has_begun:
                await processes["first"].die()
                processes["first"] = Process()
        for who, process in processes.items():
            await self._go(who, process, None)
        outcome = await self._assert_settled()
        await self._assert_a_later_withdrawal_ends()
        self.world.now = started
        return outcome, processes

    async def _go(self, who: str, process: Process, effects: int | None) -> None:
        if not process.has_begun:
            tenancy = stepped(self.world, process)
            if who == "grant":
                await process.start(on_consent_granted(event(self.tenant, GRANTED, self.world), tenancy))
            else:
                # What began before the retirement has ended in this scene: a second look may erase and close.
                await process.start(_looked(replace(self.world.withdrawals, tenancy=tenancy, quiesce_seconds=0.0)))
        await process.go(effects)

    async def _assert_settled(self) -> str:
        world, tenant = self.world, self.tenant
        await self.look_on()
        adapter = (await world.state(tenant)).adapters[self.digest]
        outcome = (await receipt(world, tenant, self.revoked.id)).outcome
        if outcome == "retired":
            assert (adapter.status, weights(world, tenant, self.digest)) == ("retired", [])
        else:
            assert (outcome, adapter.status) == ("consent-renewed", "ready")
            assert len(weights(world, tenant, self.digest)) == 4, "the adapter's files, and those of an export"
        return outcome

    async def _assert_a_later_withdrawal_ends(self) -> None:
        world, tenant = self.world, self.tenant
        later = event(tenant, WITHDRAWN, world)
        await world.handle(service(world, "curation"), later)
        await self.look_on()
        assert (await receipt(world, tenant, later.id)).outcome == "retired"
        assert weights(world, tenant, self.digest) == []

    async def look_on(self) -> None:
        for _ in range(3):
            await self.world.withdrawals.reconcile()
            self.world.now += timedelta(seconds=QUIESCE_SECONDS + 1)
        store = await self.world.outside.store(self.tenant)
        assert [relative async for relative in store.list("withdrawals", "open")] == []


async def _looked(driver: WithdrawalReconciler) -> None:
    for _ in range(2):
        await driver.reconcile()


async def test_a_grant_at_any_effect_of_a_retirement_saves_the_adapter_or_comes_too_late_for_it(
    tmp_path: Path,
) -> None:
    """Another driver sees the grant, and the one that began before it goes on, or died."""
    scene = await Scene.made(tmp_path)
    outcome, alone = await scene.meet([("first", WHOLE)])
    effects = alone["first"].effects
    assert outcome == "retired"
    assert effects[0] == f"put {object_keys.tenant_key(scene.tenant, object_keys.open_withdrawal(scene.revoked.id))}"
    outcomes = {}
    for done in range(len(effects) + 1):
        seen = [("first", done), ("grant", WHOLE), ("second", WHOLE)]
        for end in (("first", WHOLE), ("death", 0)):
            outcomes[done, end[0]], _ = await scene.meet([*seen, end])
    saved = {when for when, outcome in outcomes.items() if outcome == "consent-renewed"}
    assert saved == {(0, "first"), (0, "death")}, "the first effect is the note that the adapter goes"


async def test_a_closing_for_a_renewed_consent_may_meet_a_retirement_at_any_effect_of_both(tmp_path: Path) -> None:
    """The consent is granted between the look of one driver and that of the other."""
    scene = await Scene.made(tmp_path)
    _, alone = await scene.meet([("grant", WHOLE), ("second", WHOLE)])
    closing = len(alone["second"].effects)
    assert closing >= 4
    _, retiring = await scene.meet([("first", WHOLE)])
    outcomes = set()
    for retired in range(len(retiring["first"].effects) + 1):
        for closed in range(closing + 1):
            schedule = [("first", 0), ("grant", WHOLE), ("second", closed), ("first", retired), ("second", WHOLE)]
            outcome, _ = await scene.meet([*schedule, ("first", WHOLE)])
            outcomes.add(outcome)
    assert outcomes == {"retired", "consent-renewed"}


async def test_an_adapter_that_is_trained_after_the_grant_stays_when_the_retirement_goes_on(tmp_path: Path) -> None:
    """The driver died between its note and the swap, and the next one comes late."""
    scene = await Scene.made(tmp_path)
    world, tenant = scene.world, scene.tenant
    driver = Process()
    await driver.start(replace(world.withdrawals, tenancy=stepped(world, driver)).reconcile())
    await driver.go(1)
    await driver.die()
    await world.handle(service(world, "curation"), event(tenant, GRANTED, world))
    asked = events.TrainingRequested(run_id="run-9", trigger="operator")
    await world.handle(service(world, "training"), event(tenant, asked, world))
    store = await world.outside.store(tenant)
    leases = Leases(store, world.outside.outbox, "worker", world.clock, LEASE_SECONDS)
    await Worker(
        world.outside, store, world.keys.manifest, world.trainer, gate_of_tests, leases, world.scratch
    ).attempt("run-9")
    [new] = set((await world.state(tenant)).adapters) - {scene.digest}
    assert "e3" in await contained(world, tenant, await world.state(tenant), new)
    await scene.look_on()
    state = await world.state(tenant)
    assert (state.adapters[scene.digest].status, state.adapters[new].status) == ("retired", "ready")
    assert [one.adapter_digest for one in (await receipt(world, tenant, scene.revoked.id)).affected] == [scene.digest]


TURNS = st.tuples(st.sampled_from(["first", "first", "second", "grant", "death"]), st.sampled_from([0, 1, 2, 4, WHOLE]))


@examples(15)
@given(st.lists(TURNS, max_size=12))
def test_in_any_order_a_receipt_says_what_became_of_the_adapter(schedule: list[Turn]) -> None:
    async def met() -> None:
        with tempfile.TemporaryDirectory() as scratch:
            scene = await Scene.made(Path(scratch))
            await scene.meet(schedule)

    asyncio.run(met())
