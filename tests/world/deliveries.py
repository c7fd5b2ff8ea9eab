"""The world with a bus whose order a test decides, within what Kafka allows.

Each consumer group has a position of its own on each partition, and a partition here is one tenant's events of one
topic. A partition is read in its order; nothing is in order between partitions or between groups. A group may be
taken back on a partition, after which all that follows comes again, or may get one earlier event once more, as from a
redrive. Like events that follow each other are handled at once, as a lane takes them; in the straight run, which an
empty schedule is, each is handled by itself. A schedule is a list of such moves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from hypothesis import strategies as st

from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from schemas.bus.topics import LIVE_TOPICS
from tenancy.errors import Refused
from tenancy.tenant_id import TenantId
from tests.world.bus import Service
from tests.world.world import KeepsFailing, World

READ = {
    "curation": (events.CURATION,),
    "training": (events.TRAINING,),
    "adapters": (events.ADAPTERS, events.REPLICAS),
    "export": (events.TENANTS,),
    "knowledge": (events.KNOWLEDGE,),
    "purge": (events.TENANTS, events.REPLICAS),
    "ledger": tuple(t for t in LIVE_TOPICS if t != events.OUTCOMES),
    "inference": (events.ADAPTERS, events.TENANTS),
}
"""What each group reads that is ever published here. A test compares it with the services."""

LOOKS = ("runner", "worker", "withdrawals", "rescans", "purges", "watchdog", "loads", "audit")
"""What consumers do beside their events, at any time."""


@dataclass(frozen=True)
class Next:
    """The next events of one partition, while everything else waits."""

    group: str
    topic: str
    tenant: str
    count: int


@dataclass(frozen=True)
class Rewind:
    """The group goes back on a partition, as after a commit that was lost: what follows is delivered again."""

    group: str
    topic: str
    tenant: str
    back: int


@dataclass(frozen=True)
class Again:
    """Some earlier events once more, in any order; the position stays."""

    group: str
    topic: str
    tenant: str
    back: tuple[int, ...]


@dataclass(frozen=True)
class Look:
    """One of :data:`LOOKS`, now."""

    what: str


Move = Next | Rewind | Again | Look


@dataclass(frozen=True)
class Stage:
    """What happens while a stage's events are on the bus: some moves, then each group in turn reads all there is."""

    moves: tuple[Move, ...] = ()
    order: tuple[str, ...] = tuple(READ)


STRAIGHT = Stage()


def stages(tenants: Sequence[str], max_moves: int = 24, *, without: Sequence[str] = ()) -> st.SearchStrategy[Stage]:
    """Any stage; the simplest has no moves. ``without``: topics on which nothing ever is."""
    read = [(group, topic) for group, topics in READ.items() for topic in topics if topic not in without]
    # The ledger reads everything, but only enters it: more of the moves are for those that act on each other.
    partitions = st.sampled_from([at for at in read for _ in range(1 if at[0] == "ledger" else 4)])
    owner, few = st.sampled_from(tenants), st.integers(1, 12)
    some = st.lists(few, min_size=1, max_size=6).map(tuple)
    move = st.one_of(
        st.none(),  # what a move becomes when an example is made simpler; without a least number there are few
        st.builds(lambda at, t, n: Next(at[0], at[1], t, n), partitions, owner, st.integers(1, 4)),
        st.builds(lambda at, t, n: Rewind(at[0], at[1], t, n), partitions, owner, few),
        st.builds(lambda at, t, n: Again(at[0], at[1], t, n), partitions, owner, some),
        st.builds(Look, st.sampled_from(LOOKS)),
    )
    moves = st.lists(move, min_size=max_moves // 3, max_size=max_moves)
    return st.builds(
        Stage,
        moves.map(lambda made: tuple(one for one in made if one is not None)),
        st.permutations(list(READ)).map(lambda order: tuple(order)),
    )


def all_again(tenants: Sequence[str]) -> Stage:
    """Before anything new is read everybody gets all that it ever got: the latest first, then in its order."""
    every = [(group, topic, tenant) for group, topics in READ.items() for topic in topics for tenant in tenants]
    return Stage((*(Again(*at, tuple(range(1, 100))) for at in every), *(Rewind(*at, 100) for at in every)))


class Deliveries(World):
    """See the module. Salts are the same in every run, so that what follows from them can be compared."""

    positions: dict[tuple[str, str, str], int]
    effects: list[tuple[str, str, str, str]]
    order: tuple[str, ...] | None = None
    in_runs: int = 0

    def salt(self, tenant: TenantId, example_id: str, version: int) -> str:
        return hashlib.sha256(f"{tenant}|{example_id}|{version}".encode()).hexdigest()

    async def run(self, life: Sequence[Callable[[], Awaitable[None]]], schedule: Sequence[Stage] = ()) -> None:
        """Live ``life`` stage by stage; one begins when all of the one before has been handled."""
        self.positions, self.effects = {}, []
        for number, publish in enumerate(life):
            stage = schedule[number] if number < len(schedule) else STRAIGHT
            await publish()
            for move in stage.moves:
                await self.make(move)
            self.order = None if stage is STRAIGHT else stage.order
            await self.settle()

    async def make(self, move: Move) -> None:
        """One move; nothing where there is nothing to move."""
        await self.server.keep_lease()
        if isinstance(move, Look):
            await self._look(move.what)
            return
        at = (move.group, move.topic, move.tenant)
        log, position = self.partition(move.topic, move.tenant), self.positions.get(at, 0)
        service = self.service(move.group)
        match move:
            case Rewind():
                self.positions[at] = max(0, position - move.back)
            case Again():
                for back in move.back:
                    if back <= position:
                        await self._delivered(service, log[position - back])
            case Next():
                until = position + move.count
                while self.positions.get(at, 0) < until and await self._some(service, *at[1:], until):
                    pass

    async def _look(self, what: str) -> None:
        match what:
            case "runner":
                await self.runner.reconcile()
            case "worker":
                if self.pending:
                    await self._work(*self.pending.pop(0))
            case "withdrawals":
                await self.withdrawals.reconcile()
            case "rescans":
                await self.rescans.reconcile()
            case "purges":
                await self.driver.reconcile()
            case "watchdog":
                await self.watchdog.reconcile()
            case "loads":
                await self.load_audit.enter()
            case "audit":
                await self.keeper.reconcile()

    async def deliver(self) -> bool:
        """In the straight run one event to everybody; else to each group all that there is for it, one group first."""
        moved = False
        for name in self.order or READ:
            service = self.service(name)
            for topic in READ[name]:
                for tenant in self.keys_of(topic):
                    if self.order is None:
                        moved |= await self._next(service, topic, tenant)
                        continue
                    while await self._some(service, topic, tenant):
                        moved = True
        return moved

    async def _some(self, service: Service, topic: str, tenant: str, until: int | None = None) -> bool:
        """Like events that follow each other at once, as a lane takes them, else the next one."""
        at = (service.name, topic, tenant)
        left = self.partition(topic, tenant)[self.positions.get(at, 0) : until]
        run = list(takewhile(lambda event: event.type == left[0].type, left))
        outcomes = await self.handle_run(service, run) if run else []
        for event, outcome in zip(run, outcomes, strict=False):
            self._note(service, event, outcome)
        self.positions[at] = self.positions.get(at, 0) + len(outcomes)
        self.in_runs += len(outcomes)
        return bool(outcomes) or await self._next(service, topic, tenant)

    async def _next(self, service: Service, topic: str, tenant: str) -> bool:
        at = (service.name, topic, tenant)
        log, position = self.partition(topic, tenant), self.positions.get(at, 0)
        if position >= len(log) or not await self._delivered(service, log[position]):
            return False
        self.positions[at] = position + 1
        return True

    async def _delivered(self, service: Service, event: Event) -> bool:
        """Whether the event is handled; if not, it comes again."""
        try:
            outcome = await self.handle(service, event)
        except KeepsFailing:
            return False
        except Refused:
            outcome = Outcome.DEAD_LETTERED
        self._note(service, event, outcome)
        return True

    def _note(self, service: Service, event: Event, outcome: Outcome | None) -> None:
        if outcome in (Outcome.EFFECT, Outcome.DEAD_LETTERED):
            self.effects.append((service.name, event.subject, event.type, event.data.natural_key()))

    def service(self, name: str) -> Service:
        """The consumer of this name."""
        return next(service for service in self.services if service.name == name)

    def partition(self, topic: str, tenant: str) -> list[Event]:
        """One tenant's events of one topic."""
        return [event for event in self.bus.topics.get(topic, []) if event.subject == tenant]

    def keys_of(self, topic: str) -> list[str]:
        """The keys of a topic, in the order in which they first came."""
        return list(dict.fromkeys(event.subject for event in self.bus.topics.get(topic, [])))
