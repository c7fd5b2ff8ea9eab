"""Replaying a history into an empty installation, so that it comes to the same state.

There every event must find what it found the first time. Two rules make it so:

- What the services of the old installation concluded by themselves is not sent but waited for: the new one comes to
  it too, and until then nothing that followed is sent. An adapter is trained again before it is activated again. What
  it does not come to, although it is at rest, is noted, and the replay goes on.
- Events of one topic are in order, and between topics there is none. Before an event of another topic than the one
  before it, everything that was sent has been handled.

What an operator changed by a swap of the state and not by an event, an activation or a rollback, is done again. An
approval whose text is not there is not sent: it was erased since, by a withdrawal, a rejection or a later version, and
nobody may train on it again.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from producers import commands
from producers.replay.handling import Handling
from producers.replay.running import Target
from producers.replay.selection import REPLAYABLE, read_event
from producers.waiting import Report, ignore, until
from schemas import events, object_keys
from schemas.content import ClaimCheck
from schemas.envelope import Event
from tenancy.errors import Refused, UnknownTenant
from tenancy.tenant_id import TenantId

TEXT_GONE = "approvals whose text is not there"
NOT_CONCLUDED = "not concluded again"
UNFINISHED = ("queued", "running", "publishing")

MILESTONES: tuple[type[events.EventData], ...] = (
    events.TrainingCompleted,
    events.TrainingRejected,
    events.TrainingFailed,
    events.AdapterReady,
    events.AdapterActivated,
    events.AdapterRolledBack,
    events.ExportReady,
)
"""Conclusions that others are built upon. The rest depends on clocks and on who was running: nobody waits for it. A
purged tenant is in no replay."""

CONCLUSIONS: tuple[type[events.EventData], ...] = (
    *MILESTONES,
    events.PurgeFenced,
    events.PurgeCompleted,
    events.PurgeAtRisk,
    events.PurgeOverdue,
    events.TrainingStarted,
    events.AdapterRetired,
    events.ReplicaRegistered,
    events.ReplicaEvicted,
)
"""Types that only services publish."""


def is_conclusion(event: Event) -> bool:
    """Whether a service concluded it from what is in the history already.

    A command that follows from another event names it: the training that a tenant's policy asks for, the purge that
    a churn asks for.
    """
    return isinstance(event.data, CONCLUSIONS) or event.causation_id is not None


def milestone(event: Event) -> tuple[str, str, str]:
    """What makes a conclusion the same in another installation, where a training may give other weights."""
    data = event.data
    if isinstance(data, events.AdapterReady):
        return event.subject, event.type, data.run_id
    if isinstance(data, events.AdapterActivated | events.AdapterRolledBack):
        return event.subject, event.type, str(data.activation)
    return event.subject, event.type, data.natural_key()


@dataclass
class CausalOrder:
    """See the module. ``seconds`` bounds the wait for one conclusion, such as a training."""

    target: Target
    handling: Handling
    seconds: float
    report: Report = ignore
    left_out: Counter[str] = field(default_factory=Counter)
    _reached: set[tuple[str, str, str]] = field(default_factory=set)
    _unhandled: str | None = None
    _next: dict[tuple[str, int], int] = field(default_factory=dict)

    def notes(self) -> dict[str, int]:
        return dict(self.left_out)

    async def is_to_be_sent(self, event: Event) -> bool:
        if is_conclusion(event):
            await self._handled()
            if isinstance(event.data, MILESTONES):
                await self._done_again(event)
                await self._wait_for(event)
            return False
        if not await self._has_text(event):
            self.left_out[TEXT_GONE] += 1
            return False
        if self._unhandled != event.topic:
            await self._handled()
        return True

    def was_sent(self, event: Event) -> None:
        self._unhandled = event.topic

    async def _handled(self) -> None:
        if self._unhandled is not None:
            await self.handling.of([self._unhandled])
            self._unhandled = None

    async def _has_text(self, event: Event) -> bool:
        if not isinstance(event.data, events.ExampleApproved):
            return True
        reference = event.data.content.reference
        if not isinstance(reference, ClaimCheck):
            return True
        text = object_keys.content(reference.example_id, reference.version)
        return await self.target.tenancy.objects.exists(object_keys.tenant_key(event.subject, text))

    async def _done_again(self, event: Event) -> None:
        """Repeat an operator's change of the active adapter, unless an interrupted run has done so."""
        if event.causation_id is not None or await self._is_reached(event):
            return
        tenancy, tenant = self.target.tenancy, TenantId(event.subject)
        with suppress(Refused):  # not the adapters of then; that is noted when it is waited for
            if isinstance(event.data, events.AdapterActivated):
                await commands.activate(tenancy, tenant, event.data.adapter_digest)
            elif isinstance(event.data, events.AdapterRolledBack):
                await commands.rollback(tenancy, tenant, event.data.adapter_digest)

    async def _wait_for(self, event: Event) -> None:
        """Return once the installation has come to the same, or rests without."""
        self.report(f"waiting for {event.type}")

        async def look() -> bool | None:
            if await self._is_reached(event):
                return True
            if not await self._is_at_rest(TenantId(event.subject)):
                return None
            return await self._is_reached(event)

        if not await until(look, what=f"{event.type} in {self.target.name}", timeout_seconds=self.seconds):
            self.left_out[f"{NOT_CONCLUDED}: {event.type}"] += 1

    async def _is_at_rest(self, tenant: TenantId) -> bool:
        """Whether nothing more follows by itself: all is handled, no run is unfinished, and nothing was said since."""
        before = await self.target.log.ranges(REPLAYABLE)
        await self.handling.of(REPLAYABLE)
        try:
            state = (await self.target.tenancy.states.read(tenant)).state
        except UnknownTenant:
            return True
        is_busy = any(run.status in UNFINISHED for run in state.runs.values()) or bool(state.outbox)
        return not is_busy and await self.target.log.ranges(REPLAYABLE) == before

    async def _is_reached(self, event: Event) -> bool:
        """Whether the installation has come to it, also before an interrupted run went on."""
        unread = [
            r.model_copy(update={"begin": max(r.begin, self._next.get((r.topic, r.partition), 0))})
            for r in await self.target.log.ranges([event.topic])
        ]
        async for message in self.target.log.messages([r for r in unread if r.begin < r.end]):
            read = read_event(message)
            if read is not None and is_conclusion(read):
                self._reached.add(milestone(read))
        self._next |= {(r.topic, r.partition): r.end for r in unread}
        return milestone(event) in self._reached
