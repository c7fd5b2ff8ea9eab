"""The final state as a value, without what may differ after a crash: times, revisions, fences and salts."""

from __future__ import annotations

from typing import Any

from producers.audit_answers import entries_of
from producers.audit_copy import read_copy
from producers.audit_verifying import verify_copy
from schemas import object_keys
from schemas.events import TrainingStarted
from schemas.records import ConsentRecord, ExampleRecord
from tenancy.errors import KeyDestroyed
from tenancy.tenant_id import TenantId
from tests.world.world import World

VOLATILE = {"rev", "nonce", "fence"}


async def summary(world: World, tenant: TenantId) -> dict[str, Any]:
    """Everything that a tenant, an auditor or another service could see."""
    state = (await world.state(tenant)).model_dump(mode="json", exclude=VOLATILE)
    for run in state["runs"].values():
        for name in ("attempts", "fence", "requested_at"):
            run.pop(name)
    for adapter in state["adapters"].values():
        for name in ("fence", "published_at"):
            adapter.pop(name)
    if state["purge"]:
        state["purge"].pop("fenced_at")
    keys = [key async for key in world.memory.keys(object_keys.tenant_prefix(tenant))]
    return {
        "state": state,
        "keys": sorted(key for key in keys if not key.endswith("/lease.json")),
        "records": await _records(world, tenant),
        # A second attempt says that it started under another fence; everything else is said once.
        "published": sorted(world.bus.published(without=(TrainingStarted.type,))),
        "trained": sorted(set(world.trainer.trained)),
        "loaded": sorted(world.engine.names),
        "audit": await audited(world, tenant),
        "purges": sorted([key async for key in world.memory.keys(object_keys.PURGES_PREFIX)]),
    }


async def _records(world: World, tenant: TenantId) -> list[dict[str, Any]]:
    try:
        store = await world.outside.store(tenant)
    except KeyDestroyed:
        return []
    found: list[dict[str, Any]] = []
    async for relative in store.list("examples"):
        record, _ = await store.get_record(relative, ExampleRecord)
        found.append(record.model_dump(mode="json", exclude={"decided_at"}))
    async for relative in store.list("consents"):
        if "/waiting/" in relative:
            continue  # its key says all of it, and is in the list of keys
        consent, _ = await store.get_record(relative, ConsentRecord)
        found.append(consent.model_dump(mode="json", exclude={"decided_at"}))
    return found


STABLE_FACTS = ("run_id", "purge_id", "cause_id", "adapter_digest", "version", "reason_code", "replica_id")
PER_ATTEMPT = ("training.started", "training_set.frozen")


async def audited(world: World, tenant: TenantId) -> dict[str, Any]:
    """What the audit log says, whatever the order: topics have none between them. And whether it holds."""
    copy = await read_copy(world.outside, tenant)
    verdict = verify_copy(copy, world.signer.verifier)
    return {
        "problems": verdict.problems,
        "unsigned": verdict.entries - verdict.signed_entries,
        "said": sorted(
            f"{entry.kind} {[entry.facts[name] for name in STABLE_FACTS if name in entry.facts]}"
            for entry in entries_of(copy)
            if entry.kind not in PER_ATTEMPT
        ),
    }
