"""Processes that take turns: each stops before every effect until a test lets it go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from consumers.purge.driver import PurgeReconciler
from consumers.purge.handlers import PurgePorts, on_purge_requested
from schemas.bus import events
from schemas.bus.envelope import DataT, Event
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RawMessage
from tenancy.errors import LeaseLost, Refused
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import ObjectVersion
from tenancy.tenant_id import TenantId
from tests.fixtures.examples import is_exploring
from tests.invariants.worlds import NAME, OTHER_NAME, assert_purged, event, frozen, learned, service
from tests.world.crashes import spread
from tests.world.moment import Timestamp
from tests.world.world import POLICY, PURGE, QUIESCE_SECONDS, World

SECONDS_TO_STOP_OR_END = 120.0


class Process:
    """A process that stops before each of its effects until a test lets it go on."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self._one_at_a_time = asyncio.Lock()
        self._turn = asyncio.Semaphore(0)
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None

    async def about_to(self, effect: str) -> None:
        # What a process does at the same time stops one after the other: a turn lets the one go on that stopped.
        async with self._one_at_a_time:
            self.effects.append(effect)
            self._stopped.set()
            await self._turn.acquire()

    async def start(self, work: Awaitable[Any]) -> None:
        self._task = asyncio.ensure_future(work)
        await self._until_it_stops()

    async def _until_it_stops(self) -> None:
        assert self._task is not None
        stopped = asyncio.ensure_future(self._stopped.wait())
        done, _ = await asyncio.wait(
            {self._task, stopped}, return_when=asyncio.FIRST_COMPLETED, timeout=SECONDS_TO_STOP_OR_END
        )
        stopped.cancel()
        assert done, f"neither stops nor ends after {self.effects[-1:]}"

    @property
    def has_begun(self) -> bool:
        return self._task is not None

    @property
    def has_ended(self) -> bool:
        return self._task is not None and self._task.done()

    def result(self) -> Any:
        """What the process came to, once it is done."""
        assert self._task is not None
        return self._task.result()

    async def go(self, effects: int | None = None) -> None:
        """So many effects further, or to the end."""
        assert self._task is not None
        while not self._task.done() and effects != 0:
            effects = effects if effects is None else effects - 1
            self._stopped.clear()
            self._turn.release()
            await self._until_it_stops()
        if self._task.done():
            self._task.result()

    async def die(self) -> None:
        """Where it stands."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class SteppedStore:
    """The world's objects, as one process writes them."""

    def __init__(self, inner: MemoryObjectStore, process: Process) -> None:
        self._inner = inner
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def put(self, key: str, body: bytes, **conditions: Any) -> str:
        await self._process.about_to(f"put {key}")
        return await self._inner.put(key, body, **conditions)

    async def put_chunks(self, key: str, chunks: Any, **conditions: Any) -> str:
        await self._process.about_to(f"put {key}")
        return await self._inner.put_chunks(key, chunks, **conditions)

    async def delete_versions(self, versions: list[ObjectVersion]) -> None:
        if versions:
            await self._process.about_to(f"erase {versions[0].key}")
        await self._inner.delete_versions(versions)


@dataclass
class SteppedPublisher:
    """The world's bus, as one process publishes to it."""

    world: World
    process: Process

    async def publish(self, made: Event) -> None:
        await self.process.about_to(f"publish {made.type}")
        await self.world.bus.publish(made)

    async def publish_raw(self, message: RawMessage) -> None:
        raise AssertionError("no process of this test buries anything")

    async def answers(self) -> bool:
        return True


def stepped(world: World, process: Process) -> Tenancy:
    objects: Any = SteppedStore(world.memory, process)
    return assemble(objects, world._master, SteppedPublisher(world, process), "/stepped", world.clock)


Writer = Callable[["Scene", Tenancy], Awaitable[Any]]


@dataclass
class Scene:
    """A tenant with everything, as it was before writer and purge met. It can be set up again and again."""

    world: World
    tenant: TenantId
    other: TenantId
    digest: str
    approval: events.ExampleApproved
    scratch: Path
    moment: Timestamp
    waits: timedelta = timedelta()  # of the purge, for the tenant to take its export

    @classmethod
    async def made(cls, scratch: Path, *, right_of_export: bool = False) -> Scene:
        world = World(scratch)
        policy = POLICY.evolve(right_of_export=right_of_export)
        tenant, other = await world.onboard(NAME, policy), await world.onboard(OTHER_NAME)
        digest = await learned(world, tenant)
        await learned(world, other, text="b")
        asked = events.TrainingRequested(run_id="run-2", trigger="operator")
        await world.handle(service(world, "training"), event(tenant, asked, world))
        approval = await world.approval(tenant, "e60")
        del world.memory.objects["replicas/replica-0.json"]  # no purge waits for a replica here
        waits = timedelta(days=policy.export_wait_days) if right_of_export else timedelta()
        return cls(world, tenant, other, digest, approval, scratch, Timestamp.of(world), waits)

    def again(self) -> None:
        self.moment.again(self.world)

    def event(self, data: DataT) -> Event[DataT]:
        return event(self.tenant, data, self.world)

    async def purge(self, tenancy: Tenancy) -> None:
        """Fence, and go as far as it goes without waiting for late writers to end."""
        driver = PurgeReconciler(tenancy, self.world.keys, PURGE)
        ports = PurgePorts(tenancy, self.world.keys.trust, driver, lambda: None)
        requested = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
        await on_purge_requested(self.event(requested), ports)
        await driver.reconcile()

    async def meet(self, write: Writer, schedule: list[tuple[str, int]]) -> tuple[Process, Process]:
        """Let writer and purge take turns as scheduled, then both run to their end; then the purge is over."""
        self.again()
        started = self.world.now
        before = frozen(self.world, self.other)
        writer, purge = Process(), Process()
        await writer.start(_as_dispatched(write, self, stepped(self.world, writer)))
        await purge.start(self.purge(stepped(self.world, purge)))
        for who, effects in schedule:
            await (writer if who == "writer" else purge).go(effects)
        await writer.go()
        await purge.go()
        self.world.now += self.waits
        for _ in range(4):
            self.world.now += timedelta(seconds=QUIESCE_SECONDS + 1)
            await self.world.driver.reconcile()
        await assert_purged(self.world, self.tenant)
        assert frozen(self.world, self.other) == before
        self.world.now = started
        return writer, purge


async def _as_dispatched(write: Writer, scene: Scene, tenancy: Tenancy) -> None:
    """With the runtime's retries: a handler whose data vanishes under it is called again, and is refused then."""
    for _ in range(5):
        try:
            await write(scene, tenancy)
            return
        except (Refused, LeaseLost):
            return
        except Exception:  # noqa: S112 - what counts here is what is left, not how the writer ends
            continue


def places(effects: Sequence[str], most: int = 6) -> Sequence[int]:
    """After how many of the effects to stop: in ``make explore`` each number, else at most ``most`` of them."""
    return spread(range(len(effects) + 1), None if is_exploring() else most)
