"""Rebuilds an installation: replays a history into an empty one, so that it reaches the same state.

There every event must find what it found the first time. Two rules ensure that:

- Events that the old installation's services derived are not sent but counted, and the milestones among them are waited
  for: the new installation derives them too, and until then nothing that followed is sent. An adapter is trained again
  before it is activated again. A milestone that an idle installation does not reach is noted, and the replay continues.
  Events of people and integrations are sent, whatever they name as their cause.
- One tenant's events of one topic are in order, and between topics there is none. Before an event of another topic than
  the one before it, everything that was sent of its tenant has been handled. Tenants do not wait for each other, and
  nothing waits for events that nothing depends on, of which there are the most.

What an operator changed by a swap of the state and not by an event, an activation or a rollback, is done again in the
operator's name. One that names nobody was the services' own: a new adapter's activation, a retirement's rollback. An
approval or a document whose text is missing is not sent: the text was erased by a withdrawal, a rejection, a removal or
a later version, and must not be used again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from producers.commands import requests
from producers.queries.waiting import Report, ignore, until
from producers.replay.handling import Handling
from producers.replay.journal import Sent
from producers.replay.running import Target
from producers.replay.selection import REPLAYABLE, read_event
from schemas.bus import events
from schemas.bus.content import ClaimCheck, DocumentClaimCheck
from schemas.bus.derived_commands import follows_by_itself
from schemas.bus.envelope import Event
from schemas.bus.events import EVENT_TYPES
from schemas.objects import object_keys
from tenancy.errors import Refused, UnknownTenant
from tenancy.tenant_id import TenantId

TEXT_GONE = "approvals and documents whose text is not there"
LEFT_TO_CONCLUDE = "left to the installation to conclude"
NOT_CONCLUDED = "not concluded again"

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
    events.ExampleReturned,
    events.AdapterRetired,
    events.ReplicaRegistered,
    events.ReplicaEvicted,
)
"""Types that only services publish."""

DEPENDED_ON_BY_NOTHING = (events.USAGE, events.KNOWLEDGE)
"""Topics whose events have no order among those of other topics. They need the tenant, and nothing needs them."""


def is_conclusion(event: Event) -> bool:
    """Whether a service concluded it from what is in the history already.

    Also a command that a service gave: the training that a tenant's policy asks for, the purge that a churn asks for.
    And what a training used: it is measured anew, and two measures under one id would contradict each other.
    """
    data = event.data
    is_measured_anew = isinstance(data, events.UsageRecorded) and data.source == "training"
    return isinstance(data, CONCLUSIONS) or is_measured_anew or follows_by_itself(event)


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
    """See the module. ``seconds`` bounds the wait for one conclusion, such as a training. ``sent`` is what an
    interrupted run has sent, which may not be handled yet.
    """

    target: Target
    handling: Handling
    seconds: float
    report: Report = ignore
    sent: Sequence[Sent] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    _reached: set[tuple[str, str, str]] = field(default_factory=set)
    _unhandled: dict[str, str] = field(default_factory=dict)
    """By tenant the type of what was sent last, until it is known to be handled."""
    _next: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for line in self.sent:
            self._note(line.subject, line.type)

    def notes(self) -> dict[str, int]:
        return dict(self.left_out)

    async def is_to_be_sent(self, event: Event) -> bool:
        if is_conclusion(event):
            self.left_out[f"{LEFT_TO_CONCLUDE}: {event.type}"] += 1
            await self._handled(event.subject)
            if isinstance(event.data, MILESTONES):
                await self._done_again(event)
                await self._wait_for(event)
            return False
        if not await self._has_text(event):
            self.left_out[TEXT_GONE] += 1
            return False
        if self._must_wait(event):
            await self._handled(event.subject)
        return True

    def was_sent(self, event: Event) -> None:
        self._note(event.subject, event.type)

    def _note(self, tenant: str, event_type: str) -> None:
        if EVENT_TYPES[event_type].topic not in DEPENDED_ON_BY_NOTHING:
            self._unhandled[tenant] = event_type

    def _must_wait(self, event: Event) -> bool:
        before = self._unhandled.get(event.subject)
        if before is None:
            return False
        # One group makes the tenant's state, and others that read the same topic need it.
        is_begun = before != events.TenantOnboarded.type
        is_free = event.topic in (EVENT_TYPES[before].topic, *DEPENDED_ON_BY_NOTHING)
        return not (is_begun and is_free)

    async def _handled(self, tenant: str) -> None:
        if tenant in self._unhandled:
            topic = EVENT_TYPES[self._unhandled[tenant]].topic
            await self.handling.of([topic])
            for other in [other for other, last in self._unhandled.items() if EVENT_TYPES[last].topic == topic]:
                del self._unhandled[other]

    async def _has_text(self, event: Event) -> bool:
        if not isinstance(event.data, events.ExampleApproved | events.DocumentUpserted):
            return True
        reference = event.data.content.reference
        if isinstance(reference, ClaimCheck):
            text = object_keys.content(reference.example_id, reference.version)
        elif isinstance(reference, DocumentClaimCheck):
            text = object_keys.document(reference.document_id, reference.version)
        else:
            return True  # it came with the event
        return await self.target.tenancy.objects.exists(object_keys.tenant_key(event.subject, text))

    async def _done_again(self, event: Event) -> None:
        """Repeat an operator's change of the active adapter, unless an interrupted run has done so."""
        data = event.data
        if not isinstance(data, events.AdapterActivated | events.AdapterRolledBack) or data.requested_by is None:
            return
        if await self._is_reached(event):
            return
        tenancy, tenant, operator = self.target.tenancy, TenantId(event.subject), data.requested_by
        with suppress(Refused):  # not the adapters of then; that is noted when it is waited for
            if isinstance(data, events.AdapterActivated):
                share = data.canary_percent
                await requests.activate(
                    tenancy, tenant, data.adapter_digest, requested_by=operator, canary_percent=share
                )
            else:
                await requests.rollback(tenancy, tenant, data.adapter_digest, requested_by=operator)

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
        is_busy = any(not run.is_over for run in state.runs.values()) or bool(state.outbox)
        return not is_busy and await self.target.log.ranges(REPLAYABLE) == before

    async def _is_reached(self, event: Event) -> bool:
        """Whether the installation has come to it, also before an interrupted run went on."""
        unread = [
            r.evolve(begin=max(r.begin, self._next.get((r.topic, r.partition), 0)))
            for r in await self.target.log.ranges([event.topic])
        ]
        async for message in self.target.log.messages([r for r in unread if r.begin < r.end]):
            read = read_event(message)
            if read is not None and is_conclusion(read):
                self._reached.add(milestone(read))
        self._next |= {(r.topic, r.partition): r.end for r in unread}
        return milestone(event) in self._reached
