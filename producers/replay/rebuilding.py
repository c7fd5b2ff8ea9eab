"""Replaying a history into an empty installation, so that it comes to the same state.

There every event must find what it found the first time. Two rules make it so:

- What the services of the old installation concluded by themselves is not sent but waited for: the new one must come
  to it too, and until then nothing that followed is sent. An adapter is trained again before it is activated again.
- Events of one topic are in order, and between topics there is none. Before an event of another topic than the one
  before it, everything that was sent has been handled.

What an operator changed by a swap of the state and not by an event, an activation or a rollback, is done again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from producers import commands
from producers.replay.handling import Handling
from producers.replay.log import PartitionRange
from producers.replay.running import Target
from producers.replay.selection import read_event
from producers.waiting import Report, ignore, until
from schemas import events
from schemas.envelope import Event
from tenancy.tenant_id import TenantId

CONCLUSIONS: tuple[type[events.EventData], ...] = (
    events.ExportReady,
    events.PurgeFenced,
    events.PurgeCompleted,
    events.PurgeAtRisk,
    events.PurgeOverdue,
    events.TrainingStarted,
    events.TrainingCompleted,
    events.TrainingRejected,
    events.TrainingFailed,
    events.AdapterReady,
    events.AdapterActivated,
    events.AdapterRolledBack,
    events.AdapterRetired,
    events.ReplicaRegistered,
    events.ReplicaEvicted,
)
"""Types that only services publish."""

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
    """See the module. ``training_seconds`` bounds the wait for one milestone."""

    target: Target
    handling: Handling
    training_seconds: float
    report: Report = ignore
    reached: set[tuple[str, str, str]] = field(default_factory=set)
    _unhandled: str | None = None
    _next: dict[tuple[str, int], int] = field(default_factory=dict)

    async def is_to_be_sent(self, event: Event) -> bool:
        if not is_conclusion(event):
            if self._unhandled is not None and self._unhandled != event.topic:
                await self._handled()
            return True
        await self._handled()
        if isinstance(event.data, MILESTONES):
            await self._done_again(event)
            await self._reached(event)
        return False

    def was_sent(self, event: Event) -> None:
        self._unhandled = event.topic

    async def _handled(self) -> None:
        if self._unhandled is not None:
            await self.handling.of([self._unhandled])
            self._unhandled = None

    async def _done_again(self, event: Event) -> None:
        """Repeat an operator's change of the active adapter, unless an interrupted run has done so."""
        if event.causation_id is not None or await self._is_reached(event):
            return
        tenancy, tenant = self.target.tenancy, TenantId(event.subject)
        if isinstance(event.data, events.AdapterActivated):
            await commands.activate(tenancy, tenant, event.data.adapter_digest)
        elif isinstance(event.data, events.AdapterRolledBack):
            await commands.rollback(tenancy, tenant, event.data.adapter_digest)

    async def _reached(self, event: Event) -> None:
        self.report(f"{event.type} of {event.subject}")

        async def look() -> bool | None:
            return await self._is_reached(event) or None

        await until(look, what=f"{event.type} in {self.target.name}", timeout_seconds=self.training_seconds)

    async def _is_reached(self, event: Event) -> bool:
        """Whether the installation has come to it, also before an interrupted run went on."""
        found = await self.target.log.ranges([event.topic])
        unread = [
            PartitionRange(
                topic=r.topic,
                partition=r.partition,
                begin=max(r.begin, self._next.get((r.topic, r.partition), 0)),
                end=r.end,
            )
            for r in found
        ]
        async for message in self.target.log.messages([r for r in unread if r.begin < r.end]):
            read = read_event(message)
            if read is not None and is_conclusion(read):
                self.reached.add(milestone(read))
        self._next |= {(r.topic, r.partition): r.end for r in found}
        return milestone(event) in self.reached
