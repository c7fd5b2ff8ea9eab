"""The final state as a value, without what may differ after a crash: times, revisions, fences and salts."""

from __future__ import annotations

import re
from typing import Any

from producers.queries.audit_copy import read_copy
from producers.queries.audit_log import entries_of
from schemas.bus.events import TrainingStarted
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.curation import ConsentRecord, ExampleRecord
from tenancy.audit.verification import verify_copy
from tenancy.errors import KeyDestroyed
from tenancy.lifecycle.purge_records import PurgeRecords
from tenancy.tenant_id import TenantId
from tests.world.world import World

VOLATILE = {"rev", "nonce", "fence"}


async def summary(world: World, tenant: TenantId) -> dict[str, Any]:
    """Everything that a tenant, an auditor or another service could see."""
    state = (await world.state(tenant)).model_dump(mode="json", exclude=VOLATILE)
    for run in state["runs"].values():
        for name in ("attempts", "fence", "requested_at", "taken_at"):
            run.pop(name)
    for adapter in state["adapters"].values():
        for name in ("fence", "published_at", "retired_at"):
            adapter.pop(name)
    if state["purge"]:
        state["purge"] = _timeless(state["purge"])
    state["holds"] = _timeless(state["holds"])
    if state["knowledge"]:  # how many generations there were, and what they were named, is the way's
        state["knowledge"] = {name: state["knowledge"][name] for name in ("documents", "passages")}
    withdrawal = state["curation"]["eligibility_version"]  # and the revision at which it was entered
    state["curation"]["eligibility_version"] = withdrawal and withdrawal.rpartition(".")[0]
    keys = [key async for key in world.objects.keys(object_keys.tenant_prefix(tenant))]
    return {
        "state": state,
        "keys": sorted(_named(key) for key in keys if not key.endswith("/lease.json")),
        "records": await _records(world, tenant),
        # A second attempt says that it started under another fence; everything else is said once.
        "published": sorted(world.bus.published(without=(TrainingStarted.type,))),
        "trained": sorted(set(world.trainer.trained)),
        "loaded": sorted(world.engine.names),
        "audit": await audited(world, tenant),
        "purges": sorted([key async for key in world.objects.keys(object_keys.PURGES_PREFIX)]),
        "purge": await _purge(world, tenant),
    }


def _named(key: str) -> str:
    """Segments and sets are named after their generation, which is the way's."""
    return re.sub(r"(knowledge/(?:segments|sets))/.*", r"\1/…", key)


async def everything_again(world: World, tenant: TenantId) -> dict[str, Any]:
    """Deliver all events once more: none has an effect, and the summary stays as it was. Returns it."""
    before = await summary(world, tenant)
    world.outcomes.clear()
    world.rewind_all()
    await world.settle()
    assert [outcome for outcome in world.outcomes if outcome[2] is Outcome.EFFECT] == []
    assert await summary(world, tenant) == before
    return before


async def _purge(world: World, tenant: TenantId) -> Any:
    """The tenant's purge as its record tells it, in every word and number but the times."""
    for record in await PurgeRecords(world.objects, world.clock).of(tenant, lambda purge_id, error: None):
        return _timeless(record.model_dump(mode="json", exclude=_OF_THE_WAY))
    return None


# How often something was swapped or evicted before, and by which process, is the way's, not the result's; a receipt
# holds a time.
_OF_THE_WAY: Any = {
    "receipts": True,
    "acknowledgements": {"__all__": {"receipt_sha256", "adapters_evicted", "incarnation"}},
    "incarnations": True,
    "found": {"__all__": {"versions", "delete_markers", "size_bytes"}},
    "audit_checkpoint": True,  # commitments are salted, and the log's order between topics is the way's
}


def _timeless(value: Any) -> Any:
    """Times as whether there is one: after a crash everything happens a little later."""
    if isinstance(value, dict):
        return {name: _timeless(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_timeless(held) for held in value]
    is_time = isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", value)
    return "a time" if is_time else value


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
    verdict = verify_copy(copy, world.keys.trust)
    return {
        "problems": verdict.problems,
        "unsigned": verdict.entries - verdict.signed_entries,
        "said": sorted(
            f"{entry.kind} {[entry.facts[name] for name in STABLE_FACTS if name in entry.facts]}"
            for entry in entries_of(copy)
            if entry.kind not in PER_ATTEMPT
        ),
    }
