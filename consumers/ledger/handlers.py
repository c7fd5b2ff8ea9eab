"""Counts usage idempotently: each event once, however late and often it is delivered."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.ledger.ports import LedgerPorts
from schemas.bus.envelope import Event
from schemas.bus.events import UsageRecorded
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.usage import KeptUsage, Report, UsageDay, report_of
from tenancy.errors import Contradicted, PreconditionFailed, Transient
from tenancy.platform.concurrency import gathered
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId


async def on_usage_recorded(event: Event[UsageRecorded], ports: LedgerPorts) -> Outcome:
    """Add a replica's report to the sums of its day; keep any other usage under the event's own id."""
    return (await on_usages_recorded([event], ports))[0]


async def on_usages_recorded(run: Sequence[Event[UsageRecorded]], ports: LedgerPorts) -> Sequence[Outcome]:
    """Add the reports of one day to its sums, and keep any other usage. The run ends before a report of another day."""
    work = await ports.tenancy.begin_run(run)
    reports: dict[str, tuple[Report, UsageRecorded]] = {}
    others: dict[str, Event[UsageRecorded]] = {}
    taken: list[str] = []
    for event in run:
        report = report_of(event.data.usage_id)
        if event.id in taken or (report and any(report.day != held.day for held, _ in reports.values())):
            break
        taken.append(event.id)
        if report is None:
            others[event.id] = event
        else:
            reports[event.id] = report, event.data
    kept = await gathered(keep(event, work.store) for event in others.values())
    added = await add_to_day(list(reports.values()), work.store) if reports else []
    outcomes = {**dict(zip(others, kept, strict=True)), **dict(zip(reports, added, strict=True))}
    counted = {event.id: event.data for event in run}
    entered(ports, work.tenant, [counted[event_id] for event_id in taken if outcomes[event_id] is Outcome.EFFECT])
    return [outcomes[event_id] for event_id in taken]


def entered(ports: LedgerPorts, tenant: TenantId, records: Sequence[UsageRecorded]) -> None:
    """Count what was entered just now, and have the tenant's budget and its canary looked at."""
    ports.counters.count(records)
    if records:
        ports.spenders.add(tenant)
    if any(record.canaries for record in records):
        ports.reported.add(tenant)


async def keep(event: Event[UsageRecorded], store: TenantStore) -> Outcome:
    location = object_keys.usage(event.id)
    if await store.put_if_absent(location, KeptUsage(at=event.time, usage=event.data)):
        return Outcome.EFFECT
    if (await store.get_record(location, KeptUsage))[0].usage != event.data:
        raise Contradicted
    return Outcome.NOOP_DUPLICATE


async def add_to_day(reports: Sequence[tuple[Report, UsageRecorded]], store: TenantStore) -> list[Outcome]:
    """Add reports of one day, each with its own outcome.

    The amounts and the reports' numbers are written by one swap: all are in the record, or none. A swap that comes
    after a purge has emptied the prefix finds nothing to replace.
    """
    location = object_keys.usage_day(reports[0][0].day)
    held, etag = await store.find_record(location, UsageDay)
    before = day = held or UsageDay()
    outcomes = []
    for report, data in reports:
        added = day.plus(report, data)
        outcomes.append(Outcome.NOOP_DUPLICATE if added is day else Outcome.EFFECT)
        day = added
    if day is before:
        return outcomes
    try:
        await store.put_record(location, day, if_absent=etag is None, if_match=etag)
    except PreconditionFailed:
        # Another delivery of this tenant's usage was added in between; or this one was, and its answer was lost.
        raise Transient("the day's usage changed during the handling") from None
    return outcomes
