"""A tenant's whole life in its audit log, on real Kafka and a real S3 API, with a ledger that is killed in between."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from deploy.local.services import PROJECT_ROOT
from deploy.local.settings import inherited_environment
from producers.commands.onboarding import onboard
from producers.queries.audit_copy import read_copy
from producers.queries.audit_log import entries_of
from schemas.bus import events
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from schemas.tenant.hyperparameters import Hyperparameters
from schemas.tenant.policy import TenantPolicy
from tenancy.audit.copy import AuditCopy
from tenancy.audit.verification import verify_copy
from tenancy.bootstrap import Tenancy, trust
from tenancy.tenant_id import TenantId
from tests.fixtures.history import approvals
from tests.fixtures.platform import Platform, eventually

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

TENANT = TenantId("audited")
PAUSE = 1.0
"""Between two looks at the whole log, which are dozens of requests."""
ONE_STEP = Hyperparameters(r=8, max_steps=1, per_device_train_batch_size=2, heldout_fraction=0.0)


@pytest.fixture
async def tenancy(platform: Platform) -> AsyncIterator[Tenancy]:
    async with platform.tenancy() as connected:
        yield connected


async def log_with(tenancy: Tenancy, kind: str, count: int = 1) -> AuditCopy:
    """The log, once it has so many entries of a kind."""

    async def entered() -> AuditCopy | None:
        copy = await read_copy(tenancy, TENANT)
        return copy if sum(entry.kind == kind for entry in entries_of(copy)) >= count else None

    return await eventually(entered, f"{kind} was entered", pause=PAUSE)


def sano(platform: Platform, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as an auditor runs it: a process of its own."""
    environment = {**inherited_environment(), **platform.environment, "PYTHONPATH": str(PROJECT_ROOT)}
    argv = [sys.executable, "-m", "producers.cli.main", "audit", *arguments]
    return subprocess.run(argv, env=environment, cwd=platform.home, capture_output=True, text=True, check=False)


async def test_a_tenants_life_is_entered_once_holds_after_the_purge_and_shows_every_tampering(
    platform: Platform, tenancy: Tenancy
) -> None:
    platform.restart("ledger", "after:put:audit-claims#4")
    policy = TenantPolicy(min_new_examples=3, min_training_examples=2, hyperparameters=ONE_STEP)
    await onboard(tenancy, TENANT, policy, requested_by="op-7")
    await tenancy.outbox.publish(TENANT, events.ConsentGranted(consent_id="c-1", version=1))
    approved = [await tenancy.outbox.publish(TENANT, data) for data in await approvals(tenancy, TENANT, 3)]
    await platform.died("ledger")
    platform.restart("ledger", "after:put:audit-entries#3")

    async def activated() -> TenantState | None:
        state = (await tenancy.states.read(TENANT)).state
        return state if state.active_adapter is not None and not state.outbox else None

    await eventually(activated, "the adapter was activated")
    await platform.died("ledger")
    platform.restart("ledger")
    await tenancy.outbox.publish(TENANT, events.ExportRequested(export_id="x-1", requested_by="op-7"))
    await log_with(tenancy, "export.ready")
    # After a fence the state does not tell of them any more, and what comes late is entered as unconfirmed.
    for kind, count in (("example.approved", 3), ("training.completed", 1), ("adapter.activated", 1)):
        await log_with(tenancy, kind, count)
    await tenancy.outbox.publish(TENANT, events.ExampleWithdrawn(example_id="example-1", reason_code="patient-request"))
    await tenancy.outbox.publish(TENANT, events.TenantChurned(requested_by="op-7"))
    await log_with(tenancy, "purge.completed")

    # Everything came once, and holds.
    copy = await log_with(tenancy, "example.withdrawn")
    trusted = trust(platform.settings)
    assert verify_copy(copy, trusted).problems == ()
    kinds = Counter(entry.kind for entry in entries_of(copy))
    attempts = kinds.pop("training.started")
    assert kinds.pop("training_set.frozen") == attempts
    kinds.pop("event.refused", None)  # the withdrawal, should the fence have been faster
    # A second one is the withdrawal's, should the fence have been slower than what looks for withdrawals.
    runs = [entry.facts["run_id"] for entry in entries_of(copy) if entry.kind == "training.requested"]
    assert runs[0] == "batch-1"
    assert kinds.pop("training.requested") == len(set(runs)) <= 2
    assert kinds == {
        "tenant.onboarded": 1,
        "consent.granted": 1,
        "example.approved": 3,
        "training.completed": 1,
        "adapter.ready": 1,
        "adapter.activated": 1,
        "export.requested": 1,
        "export.ready": 1,
        "example.withdrawn": 1,
        "tenant.churned": 1,
        "purge.requested": 1,
        "purge.fenced": 1,
        "purge.step": 4,
        "purge.completed": 1,
    }
    completed = next(entry for entry in entries_of(copy) if entry.kind == "purge.completed")

    async def signed() -> bool | None:
        return verify_copy(await read_copy(tenancy, TENANT), trusted).signed_entries >= completed.seq or None

    await eventually(signed, "the purge was signed without waiting for the keeper", pause=PAUSE)

    # A replay after the purge is refused, and that is entered.
    before = len(entries_of(await read_copy(tenancy, TENANT)))
    await tenancy.publisher.publish(replace(approved[0], replay_id="replay-1"))

    async def refused() -> list[dict[str, str | int]] | None:
        late = entries_of(await read_copy(tenancy, TENANT))[before:]
        return [entry.facts for entry in late if entry.facts.get("replay_id") == "replay-1"] or None

    (facts,) = await eventually(refused, "the refusal of the replay was entered", pause=PAUSE)
    assert (facts["outcome"], facts["event_type"]) == ("REFUSED_PURGED", "sano.example.approved")
    assert [v.key async for v in tenancy.objects.versions(object_keys.tenant_prefix(TENANT))] == []

    # The auditor's own commands: a copy for the witness, and a check of it and of the bucket.
    witness = platform.home / "witness.jsonl"
    assert (await asyncio.to_thread(sano, platform, "export", "--tenant", TENANT, "--to", str(witness))).returncode == 0
    verify = ("verify", "--tenant", TENANT, "--expect-checkpoint", str(witness))
    held = await asyncio.to_thread(sano, platform, *verify)
    assert (held.returncode, "holds" in held.stdout) == (0, True), held.stderr

    # One object is changed in the bucket.
    place = object_keys.audit_entry(TENANT, 3)
    original = (await tenancy.objects.get(place)).body
    changed = json.loads(original)
    changed["recorded_while"] = "purged"
    await tenancy.objects.put(place, json.dumps(changed, separators=(",", ":"), sort_keys=True).encode())
    broken = await asyncio.to_thread(sano, platform, *verify)
    assert broken.returncode == 1
    assert "entry 4 does not follow entry 3" in broken.stdout
    await tenancy.objects.put(place, original)
    assert verify_copy(await read_copy(tenancy, TENANT), trusted).problems == ()
    await tenancy.objects.delete(place)
    assert "entry 3 is missing" in verify_copy(await read_copy(tenancy, TENANT), trusted).problems
    await tenancy.objects.put(place, original)
