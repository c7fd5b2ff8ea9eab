"""Reports a replay's results: its journal joined with the outcomes, by replay id and event id."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Literal

from pydantic import Field

from producers.replay.journal import Journal, Sent
from producers.replay.log import EventLog
from producers.replay.outcomes import NO_OPS, Outcomes
from producers.replay.plan import ReplayPlan
from schemas.base.contract import Contract
from schemas.base.identifiers import EventTypeName, OpaqueId, Sha256Hex
from schemas.bus.outcome import Outcome


class Noted(Contract):
    """A handling that changed something, was refused, or failed."""

    event_id: OpaqueId
    type: EventTypeName
    subject: OpaqueId
    consumer: OpaqueId
    outcome: Outcome


class ReplayReport(Contract):
    """The counts are of handlings: an event that three consumers handle has three."""

    replay_id: OpaqueId
    plan_sha256: Sha256Hex
    status: Literal["not run", "interrupted", "stopped", "finished"]
    reason: str | None
    planned: int = Field(ge=0)
    sent: int = Field(ge=0)
    left_out: dict[str, int]
    effects: int = Field(ge=0)
    no_ops: int = Field(ge=0)
    refusals: int = Field(ge=0)
    dead_letters: int = Field(ge=0)
    consumers: dict[OpaqueId, dict[Outcome, int]]
    unanswered: dict[EventTypeName, int] = Field(
        description="events that no consumer told an outcome of: no handler, or not handled yet"
    )
    noted: tuple[Noted, ...] = Field(description="everything but the no-ops")


async def report(plan: ReplayPlan, journal: Journal, log: EventLog) -> ReplayReport:
    """Join what was sent with what was told. ``log`` is of the installation that it was sent to."""
    outcomes = Outcomes(log, plan.replay_id, plan.made_at)
    await outcomes.look()
    sent: dict[str, Sent] = {line.event_id: line for line in journal.sent}
    consumers: defaultdict[str, Counter[Outcome]] = defaultdict(Counter)
    noted, answered = [], set()
    for data in outcomes.told.values():
        line = sent.get(data.event_id)
        if line is None:
            continue
        answered.add(data.event_id)
        consumers[data.consumer][data.outcome] += 1
        if data.outcome not in NO_OPS:
            noted.append(
                Noted(
                    event_id=data.event_id,
                    type=line.type,
                    subject=line.subject,
                    consumer=data.consumer,
                    outcome=data.outcome,
                )
            )
    came = sum(consumers.values(), Counter[Outcome]())
    return ReplayReport(
        replay_id=plan.replay_id,
        plan_sha256=plan.sha256(),
        status=_status(journal),
        reason=journal.ended.reason if journal.ended else None,
        planned=plan.messages,
        sent=len(journal.sent),
        left_out=journal.ended.left_out if journal.ended else {},
        effects=came[Outcome.EFFECT],
        no_ops=sum(came[outcome] for outcome in NO_OPS),
        refusals=came[Outcome.REFUSED_PURGED] + came[Outcome.REFUSED_POLICY],
        dead_letters=came[Outcome.DEAD_LETTERED],
        consumers={consumer: dict(sorted(counts.items())) for consumer, counts in sorted(consumers.items())},
        unanswered=dict(sorted(Counter(line.type for line in sent.values() if line.event_id not in answered).items())),
        noted=tuple(sorted(noted, key=lambda held: (held.outcome, held.consumer, held.event_id))),
    )


def _status(journal: Journal) -> Literal["not run", "interrupted", "stopped", "finished"]:
    if journal.ended is not None:
        return journal.ended.kind
    return "interrupted" if journal.sent else "not run"
