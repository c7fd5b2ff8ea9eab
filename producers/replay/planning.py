"""Plans a replay, and checks that a plan still holds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from producers.replay.fences import Fence, Fences
from producers.replay.log import EventLog, PartitionRange, removed_by_retention
from producers.replay.plan import ExcludedTenant, PlannedRange, ReplayPlan
from producers.replay.redriven import redriven
from producers.replay.selection import Candidate, Reading, Selection

Seen = Callable[[int], None]
"""Called now and then with how many messages were looked at."""


def unseen(count: int) -> None:
    """For a caller who does not look."""


@dataclass(frozen=True)
class Planner:
    """Who plans, on what."""

    log: EventLog
    fences: Fences

    async def plan(
        self, selection: Selection, *, replay_id: str, made_by: str, made_at: datetime, seen: Seen = unseen
    ) -> ReplayPlan:
        """Read what the selection is about, from its beginning to its end of now, and say what a run would send."""
        ranges = await self.log.ranges(selection.read_from(), since=selection.since, until=selection.until)
        reading = Reading(self.log, selection)
        topics: Counter[str] = Counter()
        types: Counter[str] = Counter()
        excluded: defaultdict[tuple[str, Fence], int] = defaultdict(int)
        tenants: set[str] = set()
        letters: list[Candidate] = []
        count = 0

        async def note(candidate: Candidate) -> None:
            event = candidate.event
            fence = await self.fences.refusing(event)
            if fence is not None:
                excluded[(event.subject, fence)] += 1
                return
            topics[event.topic] += 1
            types[event.type] += 1
            tenants.add(event.subject)

        async for candidate in reading.candidates(ranges):
            count += 1
            if count % 100 == 0:
                seen(count)
            if selection.dead_letters:
                letters.append(candidate)
            else:
                await note(candidate)
        done = await redriven(self.log, letters)
        for letter in letters:
            if letter.place not in done:
                await note(letter)
        return ReplayPlan(
            replay_id=replay_id,
            made_at=made_at,
            made_by=made_by,
            selection=selection,
            ranges=tuple(_planned(r, reading) for r in ranges if r.begin < r.end),
            messages=topics.total(),
            topics=dict(topics),
            types=dict(types),
            tenants=len(tenants),
            excluded=tuple(
                ExcludedTenant(tenant=tenant, status=fence, events=events)
                for (tenant, fence), events in sorted(excluded.items())
            ),
            unreadable=reading.unreadable,
            too_large=reading.too_large,
            repeated=reading.repeated,
            redriven=len(done),
        )


def _planned(r: PartitionRange, reading: Reading) -> PlannedRange:
    return PlannedRange(**r.model_dump(), first=reading.firsts.get((r.topic, r.partition)))


async def still_there(log: EventLog, plan: ReplayPlan) -> tuple[PartitionRange, ...]:
    """The plan's ranges as far as they hold anything; raises :class:`Refused` when they do not hold all of it any more.

    What retention took from before the first message that is to be sent does no harm.
    """
    now = {
        (r.topic, r.partition): r.begin
        for r in (await log.ranges(sorted({r.topic for r in plan.ranges})) if plan.ranges else ())
    }
    ranges = []
    for planned in plan.ranges:
        begin = max(planned.begin, now.get((planned.topic, planned.partition), planned.end))
        if planned.first is not None and planned.first < begin:
            raise removed_by_retention()
        if planned.first is not None:
            ranges.append(
                PartitionRange(topic=planned.topic, partition=planned.partition, begin=begin, end=planned.end)
            )
    return tuple(ranges)
