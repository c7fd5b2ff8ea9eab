"""Enters every decision and effect into its tenant's audit log, also after the tenant is purged.

The log lies outside the tenant's prefix and holds no content, so it is written after the fence too: what the purge did
must be in it, and what came too late and was refused. Nothing of a tenant is created by that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from consumers.ledger.audit_facts import actor, facts, needs_pseudonyms, says_the_same
from consumers.ledger.confirming import finding
from consumers.ledger.ports import LedgerPorts
from consumers.runtime.audit_failures import audit_failure_logged
from schemas.base.canonical import sha256_hex
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.events import EventData, OutcomeRecorded, TenantChurned, TenantOnboarded
from schemas.bus.outcome import Outcome
from schemas.evidence.audit import CONTRADICTED, SIGNED_AT_ONCE, UNCONFIRMED, Actor, AuditEntry
from schemas.objects.state import TenantState
from tenancy.audit.log import Appended, AuditRecord, Facts
from tenancy.audit.pseudonyms import Pseudonyms
from tenancy.bootstrap import Tenancy
from tenancy.errors import KeyDestroyed, Transient, UnknownTenant
from tenancy.platform.logs import SCOPE
from tenancy.state.open_work import announce
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.ledger")

SERVICE = "ledger"

DECISIONS = (
    events.ExampleApproved,
    events.ExampleRejected,
    events.ExampleReturned,
    events.ExampleWithdrawn,
    events.ConsentGranted,
    events.ConsentRevoked,
    events.DocumentUpserted,
    events.DocumentRemoved,
)
"""Events that come in long runs, by imports and reviewers. The state confirms none of them."""

KEPT_BY_THEIR_OWN = (
    *DECISIONS,
    events.PolicyChanged,
    events.TenantChurned,
    events.PurgeRequested,
    events.ExportRequested,
    events.ExampleProposed,
    events.ExampleReviewed,
    events.TrainingRequested,
    events.AdapterReady,
)
"""Events whose own consumer dead-letters them where nobody knows the tenant. All others nobody else would keep."""

ENTERED_OUTCOMES = {
    Outcome.REFUSED_PURGED: "event.refused",
    Outcome.REFUSED_POLICY: "event.refused",
    Outcome.DEAD_LETTERED: "event.dead_lettered",
}
"""Outcomes that say what the handled event's own entry does not."""

DOCUMENTS = (events.DocumentUpserted.type, events.DocumentRemoved.type)
"""Types of which a refusal is found by the event: the review page shows a document without reading the whole log."""


async def on_audited(event: Event, ports: LedgerPorts) -> Outcome:
    """Enter the event, once, as what it is: what is so, what is contradicted, or what nothing can confirm any more.

    ``REFUSED_POLICY`` for what is contradicted, each time it comes: the tenant's state says otherwise, or an earlier
    delivery of the event did. The first word stands, unless the state has contradicted it: then it stands nowhere.
    ``REFUSED_PURGED`` where the tenant was fenced before and the event is none of its purge: it is noted, and names
    that would need the tenant's key are not. ``NOOP_STALE`` where nobody knows the tenant and the event's own consumer
    keeps it as a dead letter: one is enough, and redriven it is entered here too. Raises :class:`Transient` for an
    onboarding that came before the state.
    """
    tenancy, tenant = ports.tenancy, TenantId(event.subject)
    try:
        state = (await tenancy.states.read(tenant)).state
    except UnknownTenant:
        if isinstance(event.data, TenantOnboarded):
            # Where a history is replayed into an empty installation another consumer creates the state from this event.
            raise Transient("the tenant's state is not there yet") from None
        if _is_kept_by_its_own(event.data):
            return Outcome.NOOP_STALE
        raise
    pseudonyms = await _pseudonyms(event.data, tenant, tenancy) if state.status == "active" else None
    record = _record(event, state, pseudonyms)
    found = await finding(event, state, tenancy, ports.checkpointer.keys.trust)
    if found != "so":
        entered = await tenancy.audit.entered(tenant, event.id)
        if entered is not None and says_the_same(entered, record):
            return Outcome.NOOP_DUPLICATE  # it was so then, and what confirmed it may be gone
        kind = UNCONFIRMED if entered is None and found == "unconfirmed" else CONTRADICTED
        return await _doubted(event, record, kind, entered, ports)
    if isinstance(event.data, TenantChurned) and state.status == "active":
        # Its purge is another service's to open. Who looks for open purges misses it here, should it never be.
        await announce(tenancy.objects, "purges", tenant)
    appended = await tenancy.audit.append(tenant, record)
    await _sign_if_due(tenant, appended, ports, at_once=record.kind in SIGNED_AT_ONCE)
    return await _came_to(event, state, record, appended, ports)


async def on_decisions_audited(run: Sequence[Event], ports: LedgerPorts) -> Sequence[Outcome]:
    """Enter several decisions of one tenant at once, each as :func:`on_audited` would. There is nothing to confirm of
    a decision. The run ends before an event that comes twice in it. That one was contradicted is entered behind it.
    """
    tenancy, tenant = ports.tenancy, TenantId(run[0].subject)
    try:
        snapshot, opened, hint = await asyncio.gather(
            tenancy.states.read(tenant),
            _pseudonyms(run[0].data, tenant, tenancy),
            tenancy.audit.hint(tenant),
        )
    except UnknownTenant:
        return []
    state = snapshot.state
    pseudonyms = opened if state.status == "active" else None
    records: dict[str, AuditRecord] = {}
    for event in run:
        if event.id in records:
            break
        records[event.id] = _record(event, state, pseudonyms)
    appended = await tenancy.audit.append_run(tenant, list(records.values()), hint)
    await _sign_if_due(tenant, appended[-1], ports)
    told = zip(run, records.values(), appended, strict=False)
    return [await _came_to(event, state, record, one, ports) for event, record, one in told]


def _record(event: Event, state: TenantState, pseudonyms: Pseudonyms | None) -> AuditRecord:
    return AuditRecord(
        occurrence=event.id,
        kind=event.type.removeprefix("sano."),
        time=event.time,
        actor=actor(event, pseudonyms),
        facts=facts(event.data, pseudonyms),
        recorded_while=state.status,
    )


async def _came_to(
    event: Event, state: TenantState, record: AuditRecord, appended: Appended, ports: LedgerPorts
) -> Outcome:
    if not appended.is_new:
        if says_the_same(appended.entry, record):
            return Outcome.NOOP_DUPLICATE
        return await _doubted(event, record, CONTRADICTED, appended.entry, ports)
    return Outcome.EFFECT if state.status == "active" or _is_of_its_purge(event.data, state) else Outcome.REFUSED_PURGED


async def _doubted(
    event: Event, record: AuditRecord, kind: str, entered: AuditEntry | None, ports: LedgerPorts
) -> Outcome:
    """Enter, once for each different word, that it was said. Who it names did not say it as far as anybody knows."""
    tenant = TenantId(event.subject)
    told: Facts = {"event_type": event.type, "named": record.actor.id, **record.facts}
    if entered is not None:
        told["about"] = entered.tag
    doubted = replace(
        record,
        occurrence=f"{event.id}.{kind.removeprefix('event.')}.{sha256_hex(told)[:32]}",
        kind=kind,
        actor=Actor(role="service", id=SERVICE),
        facts=told,
    )
    appended = await ports.tenancy.audit.append(tenant, doubted)
    await _sign_if_due(tenant, appended, ports)
    if kind == CONTRADICTED:
        logger.warning("event contradicted", extra={"type": event.type})
        return Outcome.REFUSED_POLICY
    return Outcome.REFUSED_PURGED if record.recorded_while != "active" else Outcome.REFUSED_POLICY


async def on_outcome_recorded(event: Event[OutcomeRecorded], ports: LedgerPorts) -> Outcome:
    """Enter what was refused or dead-lettered, by whom, and in which replay.

    Nothing is entered for a tenant that does not exist: the dead letter says so.
    """
    data = event.data
    kind = _kind(data)
    if kind is None:
        return Outcome.NOOP_DUPLICATE
    tenancy, tenant = ports.tenancy, TenantId(event.subject)
    try:
        state = (await tenancy.states.read(tenant)).state
    except UnknownTenant:
        return Outcome.NOOP_STALE
    told: Facts = {"outcome": data.outcome, "event_type": data.event_type, "delivery": data.delivery}
    if data.replay_id is not None:
        told["replay_id"] = data.replay_id
    about = await tenancy.audit.claim(tenant, data.event_id)
    if about is not None:
        told["about"] = about.tag
    record = AuditRecord(
        # The id of an outcome does not hold the outcome: the same delivery may be refused after it had an effect.
        occurrence=f"{event.id}.{data.outcome.lower()}",
        kind=kind,
        time=event.time,
        actor=Actor(role="service", id=data.consumer),
        facts=told,
        recorded_while=state.status,
    )
    appended = await tenancy.audit.append(tenant, record)
    if data.event_type in DOCUMENTS:
        await tenancy.audit.note_refusal(tenant, data.event_id, appended.entry)
    await _sign_if_due(tenant, appended, ports)
    return Outcome.EFFECT if appended.is_new else Outcome.NOOP_DUPLICATE


async def on_outcomes_recorded(run: Sequence[Event[OutcomeRecorded]], ports: LedgerPorts) -> Sequence[Outcome]:
    """Pass over the outcomes that are no news, which almost all are. The run ends before one that is to be entered."""
    passed = takewhile(lambda event: _kind(event.data) is None, run)
    return [Outcome.NOOP_DUPLICATE for _ in passed]


def _kind(data: OutcomeRecorded) -> str | None:
    """The kind of entry that is due; None where nothing is to be entered."""
    return None if _is_said_already(data) else ENTERED_OUTCOMES.get(data.outcome)


def _is_kept_by_its_own(data: EventData) -> bool:
    if isinstance(data, events.ReplicaEvicted):
        return data.names_an_adapter
    return isinstance(data, KEPT_BY_THEIR_OWN)


def _is_said_already(data: OutcomeRecorded) -> bool:
    """Our own refusal of an event that we entered all the same."""
    is_own = data.consumer == SERVICE and data.outcome in (Outcome.REFUSED_PURGED, Outcome.REFUSED_POLICY)
    return is_own and data.event_type != events.UsageRecorded.type


async def _pseudonyms(data: EventData, tenant: TenantId, tenancy: Tenancy) -> Pseudonyms | None:
    """None where the event needs none, and where the tenant's key is destroyed. Opens the key."""
    if not needs_pseudonyms(data):
        return None
    try:
        return Pseudonyms.derived((await tenancy.keys.open(tenant)).data_key)
    except KeyDestroyed:
        return None


def _is_of_its_purge(data: EventData, state: TenantState) -> bool:
    if isinstance(data, TenantChurned):
        return True
    named = getattr(data, "purge_id", None) or getattr(data, "cause_id", None)
    return state.purge is not None and named == state.purge.purge_id


async def _sign_if_due(tenant: TenantId, appended: Appended, ports: LedgerPorts, *, at_once: bool = False) -> None:
    """The event is entered, so what keeps it from being signed is none of its own: the keeper goes on trying."""
    head, _ = appended.hint
    if head.unsigned >= (1 if at_once else ports.checkpoint_entries):
        with audit_failure_logged(logger, "audit log not signed"):
            await ports.checkpointer.seal(tenant, None if at_once else appended.hint)
