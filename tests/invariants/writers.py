"""Writers under a tenant's prefix that meet a purge, beside those of ``test_fenced``: what they need is made first, at
once, and then they take turns with the purge.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consumers.adapters.withdrawals import WithdrawalReconciler
from consumers.curation.handlers import on_consent_revoked, on_example_approved, on_example_withdrawn
from consumers.training.publication import Publication
from consumers.training.runner import Runner
from consumers.training.worker import Worker
from producers.sources.importing import import_approvals
from schemas.bus import events
from tenancy.bootstrap import Tenancy
from tenancy.lifecycle.replicas import Replicas
from tenancy.state.leases import Leases
from tests.fixtures.gates import gate_of_tests
from tests.world.world import LEASE_SECONDS

if TYPE_CHECKING:
    from tests.invariants.stepping import Scene

NEVER = 60.0
"""A deadline, in seconds, that no test reaches."""

WITHDRAWN = events.ExampleWithdrawn(example_id="e0", reason_code="patient-request")
REVOKED = events.ConsentRevoked(consent_id="consent-1", version=2)


class Unmoved(Publication):
    """A worker's publication that dies after the swap."""

    async def promote(self, run_id: str, work_dir: Path) -> None:
        return


async def taught(scene: Scene) -> None:
    """One example more: without, a second training gives the adapter that is there, and no file is moved."""
    await on_example_approved(scene.event(scene.approval), scene.world.outside)


async def worker_of(scene: Scene, tenancy: Tenancy, deadline: float, lease: float = LEASE_SECONDS) -> Worker:
    store = await tenancy.store(scene.tenant)
    leases = Leases(store, tenancy.outbox, "worker", scene.world.clock, lease)
    return Worker(
        tenancy, store, scene.world.keys.manifest, scene.world.trainer, gate_of_tests, leases, scene.scratch, deadline
    )


async def drive_withdrawals(scene: Scene, tenancy: Tenancy, deadline: float = NEVER) -> None:
    """From a withdrawal that is noted to the receipt; the policy is to stop at once."""
    world, outside = scene.world, scene.world.outside
    stop = (await world.state(scene.tenant)).policy.evolve(on_withdrawal="stop")
    await outside.states.swap(scene.tenant, lambda state: state.evolve(policy=stop))
    await on_example_withdrawn(scene.event(WITHDRAWN), outside)
    replicas = Replicas(tenancy.objects, world.clock, 300.0)
    driver = WithdrawalReconciler(tenancy, world.keys.certificate, replicas, 0.0, deadline)
    await driver.reconcile()  # out of the state
    await driver.reconcile()  # out of the bucket


async def run(scene: Scene, tenancy: Tenancy, deadline: float = NEVER) -> None:
    """A runner that finishes what a worker published and did not move."""
    await taught(scene)
    worker = await worker_of(scene, scene.world.outside, NEVER)
    worker.publication = Unmoved(worker.tenancy, worker.store)
    await worker.attempt("run-2")
    await Runner(tenancy, scene.world, scene.scratch, LEASE_SECONDS, 0.0, NEVER, deadline, now=lambda: 0.0).reconcile()


async def bring_in(scene: Scene, tenancy: Tenancy, deadline: float = NEVER) -> None:
    """An import of one approval: a stepped process does one thing at a time."""
    lines = scene.scratch / "approvals.jsonl"
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    lines.write_text(json.dumps({"messages": messages, "reviewer": "rev-1", "consent": "consent-1"}) + "\n")
    await import_approvals(lines, scene.tenant, tenancy, gate_of_tests, deadline_seconds=deadline)


LATE_WRITERS: dict[str, Callable[[Scene, Tenancy], Awaitable[Any]]] = {
    "withdrawal": lambda scene, tenancy: on_example_withdrawn(scene.event(WITHDRAWN), tenancy),
    "revocation": lambda scene, tenancy: on_consent_revoked(scene.event(REVOKED), tenancy),
    "withdrawal driver": drive_withdrawals,
    "runner": run,
    "import": bring_in,
}
