"""Records usage in batches: reads state and key once, adds up a day by one swap, writes the rest side by side."""

from __future__ import annotations

from collections.abc import Sequence

from consumers.ledger.handlers import add_to_day, entered, keep
from consumers.ledger.ports import LedgerPorts
from schemas.bus.envelope import Event
from schemas.bus.events import UsageRecorded
from schemas.bus.outcome import Outcome
from schemas.objects.usage import Report, report_of
from tenancy.platform.concurrency import gathered


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
