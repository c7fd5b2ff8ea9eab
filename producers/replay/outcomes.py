"""Collects consumers' outcomes of a replay, by replay id and event id."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from producers.replay.log import EventLog
from schemas.bus.envelope import MalformedEvent, decode
from schemas.bus.events import OUTCOMES, OutcomeRecorded
from schemas.bus.outcome import Outcome

NO_OPS = (Outcome.NOOP_DUPLICATE, Outcome.NOOP_STALE)

CLOCKS_DIFFER = timedelta(minutes=10)
"""By so much an operator's clock may be ahead of the brokers' clocks."""

Told = tuple[str, str, str]
"""Event id, consumer, and the place of the delivery: what an outcome is about."""


@dataclass
class Outcomes:
    """Follows the outcomes of one replay. Those of its plan's time and later are looked at."""

    log: EventLog
    replay_id: str
    since: datetime
    told: dict[Told, OutcomeRecorded] = field(default_factory=dict)
    _next: dict[int, int] = field(default_factory=dict)

    async def look(self) -> None:
        """Read what has come since the last look."""
        found = await self.log.ranges([OUTCOMES], since=None if self._next else self.since - CLOCKS_DIFFER)
        unread = [r.evolve(begin=max(r.begin, self._next.get(r.partition, 0))) for r in found]
        async for message in self.log.messages([r for r in unread if r.begin < r.end]):
            try:
                data = decode(message.key, message.value, message.headers).data
            except MalformedEvent:
                continue
            if isinstance(data, OutcomeRecorded) and data.replay_id == self.replay_id:
                about = (data.event_id, data.consumer, data.delivery)
                self.told[about] = _of_both(self.told.get(about), data)
        self._next = {r.partition: r.end for r in found}

    def counts(self) -> Counter[Outcome]:
        """How many handlings came to what."""
        return Counter(data.outcome for data in self.told.values())


def _of_both(earlier: OutcomeRecorded | None, later: OutcomeRecorded) -> OutcomeRecorded:
    """What a delivery came to that was handled twice. Whoever had an effect and died before its commit finds it done,
    and says so; else the last word counts.
    """
    if earlier is not None and earlier.outcome is Outcome.EFFECT and later.outcome in NO_OPS:
        return earlier
    return later
