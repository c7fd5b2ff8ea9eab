"""Watches the deletion SLAs: warns when one is at risk or over.

It keeps nothing: what it has said stands in each purge's record, and a warning has the same id however often it is
published. The numbers that it shows name no tenant and no purge.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, get_args

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from consumers.purge.driver import PurgeReconciler
from schemas.bus.events import EventData, PurgeAtRisk, PurgeOverdue
from schemas.objects.purges import PurgeRecord, PurgeStep, SlaWarning
from tenancy.lifecycle.open_purges import open_purges
from tenancy.platform.concurrency import gathered
from tenancy.platform.logs import SCOPE, error_location
from tenancy.platform.tracing import continued
from tenancy.service.metrics import PURGE_REMAINING, PURGES_FLAGGED, PURGES_OPEN, TENANTS_NOT_FENCED

logger = logging.getLogger(f"{SCOPE}.purge")

Kind = Literal["at-risk-50", "at-risk-80", "overdue"]
DUE: tuple[tuple[Kind, float], ...] = (("at-risk-50", 0.5), ("at-risk-80", 0.8), ("overdue", 1.0))

OPEN_STEPS = tuple(step for step in get_args(PurgeStep) if step != "certified")


@dataclass(frozen=True)
class Overview:
    """All open purges in numbers. ``remaining_seconds`` is of the one whose deadline is next, negative once over.
    ``unreadable``: purges of whose records nothing else can be said. ``not_fenced``: tenants that are active although a
    purge was asked for, or their churn was.
    """

    steps: dict[str, int] = field(default_factory=dict)
    flags: dict[str, int] = field(default_factory=dict)
    remaining_seconds: float | None = None
    unreadable: int = 0
    not_fenced: int = 0


FLAGS: dict[str, Callable[[PurgeRecord, datetime, timedelta], bool]] = {
    "blocked_by_hold": lambda record, now, target: record.is_blocked_by_hold,
    "partial": lambda record, now, target: record.is_partial,
    "uncertifiable": lambda record, now, target: bool(record.uncertifiable),
    "overdue": lambda record, now, target: now >= record.deadline,
    "past_target": lambda record, now, target: now >= record.requested_at + target,
}


def due(record: PurgeRecord, now: datetime) -> tuple[Kind, ...]:
    """The warnings whose share of the SLA has passed and that were not given yet. A hold stops no clock."""
    promised = record.deadline - record.requested_at
    given = {warning.kind for warning in record.warnings}
    return tuple(kind for kind, share in DUE if kind not in given and now >= record.requested_at + share * promised)


@dataclass
class Watchdog:
    """Looks at every open purge, and warns of those of its driver's share. Each process counts all of them."""

    driver: PurgeReconciler
    overview: Overview = field(default_factory=Overview)

    async def reconcile(self) -> None:
        """Warn of what is due, and count."""
        driver = self.driver
        marked = await driver.work.marked()
        found = await gathered(open_purges(driver.records, one.tenant) for one in marked)
        seen = [record for one in found for record in one.opened]
        own = [record for one, purges in zip(marked, found, strict=True) if one.is_own for record in purges.opened]
        for record in own:
            try:
                with continued(record.traceparent):
                    self._say_if_not_fenced(record)
                    await self._warn(record)
            except Exception as error:
                logger.error("purge not watched", extra={"purge_id": record.purge_id, "error": error_location(error)})
        # What cannot be read is counted here and said in the log by the reconciler.
        unreadable = sum(len(one.unreadable) for one in found)
        not_opened = sum(one.is_not_opened for one in found)
        overview = self._counted(seen)
        self.overview = replace(overview, unreadable=unreadable, not_fenced=overview.not_fenced + not_opened)

    async def _warn(self, record: PurgeRecord) -> None:
        """Publish, then note: a crash in between publishes the same event again."""
        outbox = self.driver.tenancy.outbox
        for kind in due(record, self._now()):
            said = _event(kind, record.purge_id)
            await outbox.publish(record.tenant, said, time=self._now(), causation_id=record.request_event_id)
            await self.driver.records.note(
                record.tenant, record.purge_id, partial(_with, SlaWarning(kind=kind, at=self._now()))
            )
            logger.warning("purge is late", extra={"purge_id": record.purge_id, "warning": kind, "step": record.step})

    def _say_if_not_fenced(self, record: PurgeRecord) -> None:
        """At each look, since nothing has begun, and nothing may."""
        if record.is_not_fenced(self._now()):
            reason = record.dead_letter or "not-carried-out"
            logger.error("tenant not fenced", extra={"purge_id": record.purge_id, "reason": reason})

    def _counted(self, records: Iterable[PurgeRecord]) -> Overview:
        now, target = self._now(), self.driver.policy.target
        held = list(records)
        return Overview(
            steps=dict(Counter(record.step for record in held)),
            flags={name: sum(is_set(record, now, target) for record in held) for name, is_set in FLAGS.items()},
            not_fenced=len({record.tenant for record in held if record.is_not_fenced(now)}),
            remaining_seconds=min(((record.deadline - now).total_seconds() for record in held), default=None),
        )

    def _now(self) -> datetime:
        return self.driver.tenancy.clock()

    def export(self, meter: Meter) -> None:
        """Show the latest overview as metrics."""

        def remaining(_: CallbackOptions) -> Iterable[Observation]:
            seconds = self.overview.remaining_seconds
            return () if seconds is None else (Observation(seconds),)

        def steps(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(self.overview.steps.get(step, 0), {"step": step}) for step in OPEN_STEPS]

        def flags(_: CallbackOptions) -> Iterable[Observation]:
            flagged = {flag: self.overview.flags.get(flag, 0) for flag in FLAGS} | {
                "unreadable": self.overview.unreadable
            }
            return [Observation(count, {"flag": flag}) for flag, count in flagged.items()]

        def not_fenced(_: CallbackOptions) -> Iterable[Observation]:
            return (Observation(self.overview.not_fenced),)

        PURGE_REMAINING.observe(meter, remaining)
        PURGES_OPEN.observe(meter, steps)
        PURGES_FLAGGED.observe(meter, flags)
        TENANTS_NOT_FENCED.observe(meter, not_fenced)


def _event(kind: Kind, purge_id: str) -> EventData:
    match kind:
        case "at-risk-50":
            return PurgeAtRisk(purge_id=purge_id, percent=50)
        case "at-risk-80":
            return PurgeAtRisk(purge_id=purge_id, percent=80)
        case "overdue":
            return PurgeOverdue(purge_id=purge_id)


def _with(warning: SlaWarning, record: PurgeRecord) -> PurgeRecord:
    if any(given.kind == warning.kind for given in record.warnings):
        return record
    return record.evolve(warnings=(*record.warnings, warning))
