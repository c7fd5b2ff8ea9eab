"""Sends a plan's messages: paced, monitored, stopped on limits, and resumable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import Field

from producers.progress import Progress, silent
from producers.replay.audit import ReplayAudit
from producers.replay.fences import Fences
from producers.replay.handling import Handling
from producers.replay.journal import Begun, Ended, Journal
from producers.replay.log import EventLog, PartitionRange, Place
from producers.replay.outcomes import Outcomes
from producers.replay.plan import ReplayPlan
from producers.replay.planning import still_there
from producers.replay.redriven import origin_headers, redriven
from producers.replay.selection import Candidate, Reading
from producers.replay.vouching import Vouching
from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId
from schemas.bus.envelope import REPLAY_ID, REQUEUED_FOR, Event
from schemas.bus.events import EVENT_TYPES
from schemas.bus.outcome import Outcome
from tenancy.bootstrap import Tenancy
from tenancy.bus import RawMessage
from tenancy.errors import Refused, Transient

TENANT_PURGED = "tenant purged"
LOOK_SECONDS = 1.0
"""Between two looks at the outcomes while sending."""


@dataclass(frozen=True)
class Limits:
    """When to be slow, and when to stop. None is no limit.

    Outcomes come after what they are about, so that a limit is noticed as many messages later as the consumers lag
    behind: ``rate`` bounds that, and the ``canary`` lets none be sent before the first ones are judged.
    """

    rate: float = 50.0
    canary: int = 20
    max_effects: int | None = 0
    max_dead_letters: int | None = 0
    timeout_seconds: float = 300.0


class ReplayStopped(Refused):
    """It went beyond a limit. What was sent was sent; running the plan again goes on behind it."""

    def __init__(self, why: str) -> None:
        super().__init__("replay-stopped", f"stopped: {why}; `sano replay report` says which")


class Order(Protocol):
    """What has to happen before an event is sent. Without one, events follow each other as fast as the rate allows."""

    async def is_to_be_sent(self, event: Event) -> bool:
        """Wait for what must come first; False when the event is none to be sent."""
        ...

    def was_sent(self, event: Event) -> None: ...

    def notes(self) -> dict[str, int]:
        """What was left out or missed, in words, and how often."""
        ...


@dataclass(frozen=True)
class Target:
    """The installation that events are sent to: its bus for reading and for writing, and its object store."""

    name: str
    log: EventLog
    tenancy: Tenancy


class InAnyOrder:
    """Every effect that the events had is there already: nothing has to be waited for."""

    async def is_to_be_sent(self, event: Event) -> bool:
        return True

    def was_sent(self, event: Event) -> None:
        return None

    def notes(self) -> dict[str, int]:
        return {}


@dataclass
class Pace:
    """At most ``rate`` calls a second, evenly."""

    rate: float
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _next: float = 0.0

    async def __call__(self) -> None:
        now = self.now()
        if now < self._next:
            await self.sleep(self._next - now)
        self._next = max(now, self._next) + 1 / self.rate


class Preview(Contract):
    """What a run would send now, what was sent before, and what is left out since its tenant is purged."""

    replay_id: OpaqueId
    messages: int = Field(ge=0)
    sent_before: int = Field(ge=0)
    excluded: int = Field(ge=0)


@dataclass
class Run:
    """One run of a plan. ``source`` is where the plan was made; nothing is committed and no group is touched there."""

    plan: ReplayPlan
    source: EventLog
    target: Target
    fences: Fences
    journal: Journal
    limits: Limits
    order: Order = field(default_factory=InAnyOrder)
    progress: Progress = silent
    vouching: Vouching | None = None
    now: Callable[[], float] = time.monotonic
    excluded: int = 0
    _topics: set[str] = field(init=False)

    def __post_init__(self) -> None:
        # What an interrupted run has sent is waited for too.
        self._topics = {EVENT_TYPES[line.type].topic for line in self.journal.sent}
        self._outcomes = Outcomes(self.target.log, self.plan.replay_id, self.plan.made_at)
        self._handling = Handling(self.target.log, self.target.tenancy, self.limits.timeout_seconds)

    async def preview(self) -> Preview:
        """What :meth:`execute` would do now. Raises :class:`Refused` when the plan does not hold any more."""
        ranges = await still_there(self.source, self.plan)
        done = await already_redriven(self.source, self.plan, ranges)
        messages = sent_before = excluded = 0
        async for candidate in Reading(self.source, self.plan.selection).candidates(ranges):
            if self.journal.has(candidate.place) or candidate.place in done:
                sent_before += 1
            elif await self.fences.refusing(candidate.event) is not None:
                excluded += 1
            else:
                messages += 1
        return Preview(replay_id=self.plan.replay_id, messages=messages, sent_before=sent_before, excluded=excluded)

    async def execute(self, by: str) -> Journal:
        """Send what the plan says and what the journal has not; return once all of it was handled.

        Raises :class:`Refused` when the plan does not hold any more, :class:`ReplayStopped` beyond a limit, and
        :class:`Transient` when the bus or a consumer does not get on. After each the plan can be run again.
        """
        ranges = await still_there(self.source, self.plan)
        tenancy, plan_sha256 = self.target.tenancy, self.plan.sha256()
        self.journal.begin(
            Begun(
                replay_id=self.plan.replay_id, plan_sha256=plan_sha256, by=by, at=tenancy.clock(), to=self.target.name
            )
        )
        audit = ReplayAudit(tenancy, self.plan.replay_id, plan_sha256, by)
        try:
            await self._send_all(ranges, audit)
            await self._wait_until_caught_up()
        except (Refused, Transient) as error:
            self._end("stopped", str(error))
            await audit.ended("stopped", self.journal)
            raise
        self._end("finished")
        await audit.ended("finished", self.journal)
        return self.journal

    def _end(self, kind: Literal["stopped", "finished"], reason: str | None = None) -> None:
        left_out = {TENANT_PURGED: self.excluded} if self.excluded else {}
        at = self.target.tenancy.clock()
        self.journal.end(Ended(kind=kind, at=at, reason=reason, left_out={**left_out, **self.order.notes()}))

    async def _send_all(self, ranges: Sequence[PartitionRange], audit: ReplayAudit) -> None:
        done = await already_redriven(self.source, self.plan, ranges)
        pace, looked, sent = Pace(self.limits.rate), self.now(), 0
        async for candidate in Reading(self.source, self.plan.selection).candidates(ranges):
            if self.journal.has(candidate.place) or candidate.place in done:
                continue
            if await self.fences.refusing(candidate.event) is not None:
                self.excluded += 1
                continue
            if not await self.order.is_to_be_sent(candidate.event):
                continue
            await pace()
            await audit.begun(candidate.event)
            message = resent(candidate, self.plan.replay_id)
            if self.vouching is not None:
                message = await self.vouching.signed(candidate, message)
            await self.target.tenancy.publisher.publish_raw(message)
            self.journal.note(candidate)
            self.order.was_sent(candidate.event)
            self._topics.add(candidate.event.topic)
            sent += 1
            self.progress("sending", len(self.journal.sent), self.plan.messages)
            if sent == self.limits.canary:
                await self._wait_until_caught_up()
            elif self.now() - looked >= LOOK_SECONDS:
                await self._judge()
                looked = self.now()

    async def _wait_until_caught_up(self) -> None:
        """All that was sent is handled, and within the limits."""
        self.progress("waiting for the consumers", len(self.journal.sent), self.plan.messages)
        await self._handling.of(sorted(self._topics))
        await self._judge()

    async def _judge(self) -> None:
        await self._outcomes.look()
        came = self._outcomes.counts()
        for outcome, limit, what in (
            (Outcome.DEAD_LETTERED, self.limits.max_dead_letters, "dead letters"),
            (Outcome.EFFECT, self.limits.max_effects, "effects"),
        ):
            if limit is not None and came[outcome] > limit:
                raise ReplayStopped(f"{came[outcome]} {what}, and at most {limit} were allowed")


async def already_redriven(source: EventLog, plan: ReplayPlan, ranges: Sequence[PartitionRange]) -> frozenset[Place]:
    """Of a plan of dead letters, those that were sent again since; by this run, or by another."""
    if not plan.selection.dead_letters:
        return frozenset()
    letters = [letter async for letter in Reading(source, plan.selection).candidates(ranges)]
    return await redriven(source, letters)


def resent(candidate: Candidate, replay_id: str) -> RawMessage:
    """The message as it was, with all its headers, and after them the replay and where it was read. Only a copy that
    was sent back for one reader is sent for all: its first place may be gone, and whoever handled it knows it.

    A dead letter keeps the headers of its failures too: if it fails again, the next letter tells of both.
    """
    message = candidate.message
    own = [header for header in message.headers if header[0] != REQUEUED_FOR]
    headers = [*own, (REPLAY_ID, replay_id.encode()), *origin_headers(candidate.place)]
    return RawMessage(candidate.event.topic, message.key, message.value, headers)
