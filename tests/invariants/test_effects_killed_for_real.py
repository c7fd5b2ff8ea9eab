"""Every effect of every process is killed at: for real by tests/integration/test_kill.py, or for a reason only here.

``test_crash_points.py`` kills simulated processes at each effect that a life has. Real processes on real Kafka are too
slow for that, so those are killed at a list that somebody chose. This compares the list with what a whole life really
has, and asks for a reason for all that is not in it.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.ledger.keeper import SURVIVAL
from inference.replica.lease import ReplicaLease
from producers.commands import legal_holds
from producers.commands.marking import mark
from schemas.bus import events
from schemas.objects.terms import Term
from schemas.tenant.policy import TenantPolicy
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import NAME
from tests.invariants.source import ROOT
from tests.world.crashes import CrashAt
from tests.world.deliveries import READ
from tests.world.fakes import BASE
from tests.world.world import LEASE_SECONDS, POLICY, World

INTEGRATION = ROOT / "tests" / "integration" / "test_kill.py"
SERVER = ROOT / "tests" / "e2e" / "test_server_kill.py"
LISTS = {"PURGE_CRASH_POINTS": "purge", "WORKER_CRASH_POINTS": "worker"}
"""Lists there that hold the effects of one process."""

Effects = dict[str, set[str]]


def killed_for_real() -> Effects:
    """The crash points of the tests that kill real processes, read from their source: importing it takes torch."""
    found: Effects = defaultdict(set)
    for node in ast.walk(ast.parse(INTEGRATION.read_text())):
        match node:
            case ast.Call(func=ast.Name("CrashPoint"), args=[ast.Constant(str(process)), ast.Constant(str(effect))]):
                found[process].add(effect)
            case ast.Assign(targets=[ast.Name(name)], value=ast.List(elts)) if name in LISTS:
                found[LISTS[name]] |= {ast.literal_eval(element) for element in elts}
    for node in ast.walk(ast.parse(SERVER.read_text())):
        if isinstance(node, ast.Constant) and str(node.value).startswith("before:"):
            found["inference"].add(str(node.value).removeprefix("before:"))
    return found


WORK = {
    "erase:work": "a marker that a look has found to be of no use; the next look finds it again",
    "put:work": "put again with what it announces, before which the process is killed",
}
AUDIT = dict.fromkeys(
    ("put:audit-claims", "put:audit-entries", "put:audit-head"),
    "the audit log's one append, the same code in every process: whoever does it again finds its claim",
)
REPEATED = "repeated by whoever comes next, as {} is, after which the process is killed"
REPORTED = "a report that is made again under the same id, from the outbox like {}"

ONLY_SIMULATED: dict[str, dict[str, str]] = {
    "adapters": {
        **AUDIT,
        **WORK,
        "erase:adapters": REPEATED.format("the worker's erase:staging"),
        "erase:exports": REPEATED.format("the worker's erase:staging"),
        "erase:withdrawals": REPEATED.format("the worker's erase:staging"),
        "publish:sano.adapter.retired": REPORTED.format("sano.adapter.activated"),
        "publish:sano.training.requested": REPORTED.format("curation's sano.training.requested"),
        "put:replicas": "a compare-and-swap of the replica's record, looked at again like swap:state",
        "put:withdrawals": "create-if-absent or compare-and-swap of one record, like the purge's put:purges",
    },
    "curation": {
        **WORK,
        "erase:terms": "a search that is over; the next look makes it again",
        "put:terms": "how far a search is, a compare-and-swap: whoever takes it up goes on from before it",
        "publish:sano.example.withdrawn": "published again by the search that goes on, until the record says it",
        "put:contents": "create-if-absent of the text that goes back to review, like the intake's put:runs",
        "put:proposals": "create-if-absent or compare-and-swap of one record, as it was when the event comes again",
        "erase:consents": REPEATED.format("the worker's erase:staging"),
        "erase:contents": REPEATED.format("the worker's erase:staging"),
        "put:withdrawals": "create-if-absent of one record after a swap, like the intake's put:runs",
    },
    "inference": {
        **AUDIT,
        "put:work": WORK["put:work"],
        "publish:sano.replica.registered": "nobody reacts to it",
        "publish:sano.usage.recorded": "what was not told dies with the server; no event of it comes a second time",
        "put:replicas": "the lease, which a server that starts takes over from whoever had it",
    },
    "ledger": {
        **WORK,
        "erase:audit-claims": "the keeper's, which looks again; nothing is derived from what it erases",
        "put:audit-checkpoints": "the same signing that the purge is killed in; the keeper looks again",
        "put:rounds": "when the round over all tenants was taken; whoever finds it old takes the next",
    },
    "purge": {
        **WORK,
        "erase:adapters": "the sweep, named after the first object that it finds: erase:consents without an adapter",
        "erase:state.json": "the sweep of superseded states, the same code as that of the tenant's prefix",
        "publish:sano.export.ready": REPORTED.format("sano.purge.fenced"),
        "publish:sano.purge.at_risk": "noted in the record, which is put:purges, after it was published",
        "publish:sano.purge.overdue": "noted in the record, which is put:purges, after it was published",
        "put:exports": "tenancy.lifecycle.exports.write_export, which the export consumer does again after a kill",
        "put:replicas": "a compare-and-swap of the replica's record, looked at again like put:purges",
    },
    "training": WORK,
    "worker": {
        **AUDIT,
        "put:work": WORK["put:work"],
        "put:runs": "what was left out, create-if-absent for each attempt",
        "publish:sano.example.returned": "published again by the next attempt, which finds the same",
        "publish:sano.training.completed": REPORTED.format("sano.adapter.ready"),
        "publish:sano.training.rejected": REPORTED.format("sano.adapter.ready"),
        "publish:sano.training.started": REPORTED.format("sano.adapter.ready"),
        "publish:sano.usage.recorded": REPORTED.format("sano.adapter.ready"),
    },
}
"""Process, effect, and why no real process is killed there."""

NOT_SIMULATED = {
    "publish:sano.outcome.recorded": "by the runtime around the handlers, which the world calls without it",
}


def test_every_effect_that_a_life_has_is_killed_for_real_or_there_is_a_reason_why_not(life: Effects) -> None:
    real = killed_for_real()
    missing = {
        f"{process}, {effect}"
        for process, effects in life.items()
        for effect in effects - real[process] - set(ONLY_SIMULATED.get(process, {}))
    }
    assert missing == set(), "kill a real process there, or say why not"


def test_no_reason_is_given_for_what_is_killed_for_real_or_is_no_effect_of_any_life(life: Effects) -> None:
    real = killed_for_real()
    for process, reasons in ONLY_SIMULATED.items():
        assert set(reasons) & real[process] == set(), f"{process} is killed there for real: the reason is not needed"
        assert set(reasons) <= life[process], f"no life of {process} has such an effect"


def test_real_processes_are_killed_at_effects_that_a_life_has(life: Effects) -> None:
    """A crash point that nothing passes would be waited for until the test fails, minutes later."""
    for process, effects in killed_for_real().items():
        assert effects - set(NOT_SIMULATED) <= life[process], process


def test_the_crash_points_of_every_process_are_found_in_the_source() -> None:
    """Else the comparison would be with nothing."""
    assert set(killed_for_real()) == set(READ) | {"worker"}


@pytest.fixture
async def life(tmp_path: Path) -> Effects:
    return await _life(tmp_path)


async def _life(scratch: Path) -> Effects:
    """What tenants can set off: decisions, batches, an identifier that the gate finds and one that a reviewer does, an
    export, usage, withdrawals that retrain and retire; a purge with a right of export under a hold and beyond its
    deadline, one without, and one of a tenant that has no adapter.
    """
    crash = CrashAt()
    world = World(scratch, crash)
    exporting = POLICY.evolve(right_of_export=True)
    small = await _onboarded(world, "t2", POLICY)
    await world.publish(small, events.ConsentGranted(consent_id="consent-1", version=1))
    await world.publish(small, events.TrainingRequested(run_id="too-few", trigger="operator"))
    one, other = await _onboarded(world, "t1", exporting), await _onboarded(world, "t10", POLICY)
    for tenant in (one, other):
        await _taught(world, tenant)
        active = (await world.state(tenant)).active_adapter
        assert active is not None
        async with world.placement.held(tenant, active):
            world.server.meter.tokens(tenant, 7, 2)
        await world.publish(tenant, await world.approval(tenant, "e7", text=f"{NAME} Okonkwo"))
        await world.publish(tenant, events.TrainingRequested(run_id="hit", trigger="operator"))
        await world.settle()
        active = (await world.state(tenant)).active_adapter
        assert active is not None
        await mark(world.outside, tenant, "e7", Term(text="Okonkwo"), reviewer_id="rev-1")
        await world.publish(tenant, events.ExportRequested(export_id="x1", requested_by="op"))
        world.public_keys[tenant] = (await world.outside.keys.open(tenant)).public_key
        for version in (1, 2):
            await world.publish(tenant, world.document(tenant, "d1", version, f"{version} mg"))
        await world.publish(tenant, events.DocumentRemoved(document_id="d1", version=2))
        await world.settle()
        await _replica_gone(world, f"gone-{tenant}")
        await world.publish(tenant, events.ExampleWithdrawn(example_id="e2", reason_code="patient-request"))
        await world.settle()
        assert (await world.state(tenant)).adapters[active].status == "retired"
    await legal_holds.place(world.outside, one, reason_code="litigation", placed_by="op", hold_id="h1")
    await _replica_gone(world, "gone")
    for tenant in (one, other, small):
        await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    purge = (await world.state(one)).purge
    assert purge is not None
    assert purge.export_digest is not None
    await world.publish(
        one,
        events.ExportAcknowledged(export_id=purge.purge_id, adapter_digest=purge.export_digest, acknowledged_by="op"),
    )
    await world.settle()
    world.now += timedelta(days=POLICY.deletion_sla_days)
    await world.settle()
    await legal_holds.release(world.outside, one, "h1", released_by="op")
    await world.settle()
    assert {(await world.state(tenant)).status for tenant in (one, other, small)} == {"purged"}
    world.now += SURVIVAL
    await world.keeper.sweep()
    found: Effects = defaultdict(set)
    for process, effect in zip(crash.processes, crash.effects, strict=True):
        found[process].add(effect)
    return found


async def _replica_gone(world: World, replica_id: str) -> None:
    """A replica that is in nobody's hands any more. Whoever waits for it cuts it off."""
    await ReplicaLease(world.outside, replica_id, BASE.digest, LEASE_SECONDS, world.now).renew()


async def _onboarded(world: World, name: str, policy: TenantPolicy) -> TenantId:
    """With keys and the event only: the state is made from it."""
    tenant = TenantId(name)
    keys = await world.outside.keys.create(tenant)
    await world.publish(tenant, events.TenantOnboarded(policy=policy, public_key_thumbprint=keys.thumbprint()))
    while (tenant not in [known async for known in world.outside.states.tenants()]) and await world.step():
        pass
    return tenant


async def _taught(world: World, tenant: TenantId) -> None:
    decided: list[events.EventData] = [
        await world.approval(tenant, "e0"),
        events.ConsentGranted(consent_id="consent-1", version=1),
        await world.approval(tenant, "e1"),
        events.ExampleRejected(example_id="e1", version=2, reviewer_id="rev-1", reason_code="unclear"),
        events.ExampleWithdrawn(example_id="e0", reason_code="patient-request"),
        await world.approval(tenant, "e8", consent="consent-2"),
        events.ConsentGranted(consent_id="consent-2", version=1),
        events.ConsentRevoked(consent_id="consent-2", version=2),
        *[await world.approval(tenant, f"e{number}") for number in (2, 3, 4)],
        events.UsageRecorded(usage_id="u1", source="inference", prompt_tokens=3),
    ]
    for data in decided:
        await world.publish(tenant, data)
    await world.settle()
