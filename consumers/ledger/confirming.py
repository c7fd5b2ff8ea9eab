"""Compares what an event says of a policy, a purge, a run or an adapter with what is so, before the log says it too.

Whoever may write to a topic can say anything of any tenant. Every service writes the state, or its record, before it
publishes what it did. So what is not so by the time the event is read was not said by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from schemas.base.canonical import sha256_hex
from schemas.base.json_text import parse_json
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.events import EventData
from schemas.objects import object_keys
from schemas.objects.purges import PurgeRecord
from schemas.objects.state import AdapterState, RunState, TenantState
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, Refused
from tenancy.evidence.envelopes import unverified
from tenancy.evidence.eviction_receipts import checked_eviction
from tenancy.evidence.trust import Verifier
from tenancy.lifecycle.purge_records import PurgeRecords
from tenancy.state.archive import Archive
from tenancy.tenant_id import TenantId

Finding = Literal["so", "contradicted", "unconfirmed"]
"""``unconfirmed``: what would say so is gone, or cannot be read."""

CLOCKS_APART = timedelta(minutes=1)
"""A warning is published by the clock of whoever watches the deadline."""

_SHARE = {50: 0.5, 80: 0.8}


async def finding(event: Event, state: TenantState, tenancy: Tenancy, verifier: Verifier) -> Finding:
    """What there is to an event. Decisions and requests say nothing that could be checked."""
    tenant, data = TenantId(event.subject), event.data
    match data:
        case events.PolicyChanged():
            is_in_force = data.version == state.policy_version  # of an earlier one the state says nothing any more
            return _is(not is_in_force or (data.policy, data.requested_by) == (state.policy, state.policy_set_by))
        case events.PurgeFenced():
            purge = state.purge
            return _is(purge is not None and (purge.purge_id, purge.fenced_at) == (data.purge_id, data.fenced_at))
        case events.PurgeCompleted():
            is_over = state.status == "purged" and state.purge is not None and state.purge.purge_id == data.purge_id
            return _is(is_over and await _is_certified(tenant, data, tenancy))
        case events.PurgeAtRisk():
            return await _warned(tenant, data.purge_id, _SHARE[data.percent], tenancy)
        case events.PurgeOverdue():
            return await _warned(tenant, data.purge_id, 1.0, tenancy)
        case events.ReplicaEvicted():
            return _is(_is_signed(tenant, data, verifier))
        case _ if isinstance(data, _OF_LEARNING):
            return await _learned(data, state, tenancy)
        case _:
            return "so"


def _is(so: bool) -> Finding:
    return "so" if so else "contradicted"


async def _is_certified(tenant: TenantId, data: events.PurgeCompleted, tenancy: Tenancy) -> bool:
    """Whether this very certificate lies where the purge's lies, and says the same."""
    try:
        body = (await tenancy.objects.get(object_keys.certificate_key(tenant, data.purge_id))).body
        envelope = parse_json(body)
        removed = unverified(envelope)["predicate"]["objects_removed"]
    except (ObjectNotFound, ValueError, KeyError, TypeError):
        return False
    return (sha256_hex(envelope), removed, 0) == (data.certificate_sha256, data.objects_removed, data.residual)


async def _warned(tenant: TenantId, purge_id: str, share: float, tenancy: Tenancy) -> Finding:
    """Whether so much of the purge's time had passed. That it was warned of is noted behind the event only."""
    try:
        record: PurgeRecord = await PurgeRecords(tenancy.objects, tenancy.clock).read(tenant, purge_id)
    except ObjectNotFound:
        return "contradicted"
    except ValueError:
        return "unconfirmed"
    due = record.requested_at + share * (record.deadline - record.requested_at)
    return _is(tenancy.clock() + CLOCKS_APART >= due)


def _is_signed(tenant: TenantId, data: events.ReplicaEvicted, verifier: Verifier) -> bool:
    """Whether a replica of this installation signed that it holds nothing of what the event names."""
    try:
        checked_eviction(tenant, data, verifier)
    except (Refused, ValueError, KeyError):
        return False
    return True


_OF_LEARNING = (
    events.TrainingStarted,
    events.TrainingCompleted,
    events.TrainingRejected,
    events.TrainingFailed,
    events.AdapterReady,
    events.AdapterActivated,
    events.AdapterRolledBack,
    events.AdapterRetired,
)


async def _learned(data: EventData, state: TenantState, tenancy: Tenancy) -> Finding:
    """Against the tenant's runs and adapters. A fence empties the state, and a purge erases what was archived."""
    if state.status != "active":
        return "unconfirmed"
    try:
        return _is(await _is_so(data, state, _Known(state, tenancy)))
    except Refused:  # the key is missing, or what was archived does not open
        return "unconfirmed"


@dataclass(frozen=True)
class _Known:
    """What the tenant has. Its key is opened only for what was archived."""

    state: TenantState
    tenancy: Tenancy

    async def adapter(self, digest: str) -> AdapterState | None:
        """The adapter, once it is published."""
        found = self.state.adapters.get(digest) or await (await self._archive()).adapter(digest)
        return None if found is None or found.status == "publishing" else found

    async def run(self, run_id: str) -> RunState | None:
        return self.state.runs.get(run_id) or await (await self._archive()).run(run_id)

    async def _archive(self) -> Archive:
        return Archive(await self.tenancy.store(TenantId(self.state.tenant)))


async def _is_so(data: Any, state: TenantState, known: _Known) -> bool:
    match data:
        case events.AdapterActivated() | events.AdapterRolledBack():
            return await _became_active(data, state, known)
        case events.AdapterReady():
            adapter = await known.adapter(data.adapter_digest)
            said = (data.run_id, data.base_model_digest, data.size_bytes)
            return adapter is not None and (adapter.run_id, adapter.base_model_digest, adapter.size_bytes) == said
        case events.AdapterRetired():
            adapter = await known.adapter(data.adapter_digest)
            return adapter is not None and adapter.status == "retired"
        case _:
            run = await known.run(data.run_id)
            return run is not None and await _came_to(data, run, known)


async def _came_to(data: Any, run: RunState, known: _Known) -> bool:
    match data:
        case events.TrainingStarted():
            return 0 < data.fence <= run.fence
        case events.TrainingCompleted():
            adapter = await known.adapter(data.adapter_digest)
            is_its_own = (run.status, run.adapter_digest, run.fence) == ("completed", data.adapter_digest, data.fence)
            return is_its_own and adapter is not None and adapter.training_set_id == data.training_set_id
        case events.TrainingFailed():
            return (run.status, run.reason_code, run.attempts) == ("failed", data.reason_code, data.attempts)
        case _:
            return (run.status, run.reason_code) == ("rejected", data.reason_code)


def _answering(data: events.AdapterActivated | events.AdapterRolledBack, state: TenantState) -> str | None:
    if isinstance(data, events.AdapterActivated) and data.canary_percent is not None:
        return None if state.canary is None else state.canary.adapter_digest
    return state.active_adapter


async def _became_active(
    data: events.AdapterActivated | events.AdapterRolledBack, state: TenantState, known: _Known
) -> bool:
    """Of an earlier change the state knows only that there were so many, and of which adapters there are."""
    if not 0 < data.activation <= state.activations:
        return False
    if data.activation == state.activations and data.adapter_digest != _answering(data, state):
        return False
    named = [digest for digest in (data.adapter_digest, data.previous_digest) if digest is not None]
    return all([await known.adapter(digest) is not None for digest in named])
