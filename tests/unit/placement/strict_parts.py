"""A placement of parts that are as strict as the real ones, and requests to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.adapters.adapter_files import FetchedAdapter
from inference.adapters.placement import Placement
from inference.adapters.residency import Residency, ResidencyPolicy
from inference.engine.errors import AdapterInUse, AdapterNotLoaded, AdapterWithdrawn, EngineFull, EngineRefused
from inference.engine.loaded_adapters import Eviction, Verify
from inference.errors import RequestRefused
from tenancy.tenant_id import TenantId
from tests.fixtures.verified import verified

A, B, C = TenantId("tenant-a"), TenantId("tenant-b"), TenantId("tenant-c")
IDLE_SECONDS = 60.0


async def steps(count: int) -> None:
    """Let everything else go on for ``count`` turns of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass
class StrictEngine:
    """What the engine does to adapters, with its rules: a call may be overtaken wherever the real one waits, an
    adapter in use is not evicted, and one whose files vanish while it is registered would end it for everybody.
    """

    log: list[str]
    capacity: int = 4
    names: dict[str, Path] = field(default_factory=dict)
    leftovers: set[str] = field(default_factory=set)  # registered without a name: an interrupted eviction
    flights: dict[str, list[asyncio.Event]] = field(default_factory=dict)
    owned: dict[str, list[asyncio.Event]] = field(default_factory=dict)  # what tenants ask the base model
    failures: dict[str, Exception] = field(default_factory=dict)
    slots_clear: bool = True
    has_traces: bool = False  # weights in a free slot: of an adapter that was removed and not overwritten
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    polls: int = 0

    def loaded(self) -> tuple[str, ...]:
        return tuple(self.names)

    async def listed(self) -> tuple[str, ...]:
        await steps(1)
        return tuple(sorted({*self.names, *self.leftovers}))

    def inflight(self, digest: str) -> int:
        self.polls += 1
        return len(self.flights.get(digest, ()))

    async def load(self, digest: str, directory: Path, verify: Verify) -> None:
        async with self.changing:
            await steps(1)
            if error := self.failures.get(digest):
                raise error
            if digest in self.names:
                return
            self.leftovers.discard(digest)
            if len(self.names) + len(self.leftovers) >= self.capacity:
                raise EngineFull(self.capacity)
            await steps(1)
            await verify()
            self.log.append(f"load {digest}")
            self.names[digest] = directory

    async def evict(self, digest: str, *, scrub: bool) -> Eviction:
        async with self.changing:
            await steps(1)
            if self.flights.get(digest):
                raise AdapterInUse(digest, len(self.flights[digest]))
            was_loaded = digest in self.names or digest in self.leftovers
            if self.names.pop(digest, None) is not None:
                self.leftovers.add(digest)
            await steps(1)
            self.leftovers.discard(digest)
            self.log.append(f"{'scrub' if scrub else 'evict'} {digest}")
            self.has_traces = (self.has_traces or was_loaded) and not scrub
        if scrub:
            self.log.append("reset")
        return Eviction(digest, was_loaded, scrub and self.slots_clear, scrub, tuple(sorted(self.names)))

    async def abort_all(self, digest: str) -> int:
        flights = list(self.flights.get(digest, ()))
        self.log.append(f"abort {digest}")
        for flight in flights:
            flight.set()
        while any(flight in self.flights.get(digest, ()) for flight in flights):
            await steps(1)
        return len(flights)

    def inflight_of(self, owner: str) -> int:
        self.polls += 1
        return len(self.owned.get(owner, ()))

    async def abort_all_of(self, owner: str) -> int:
        flights = list(self.owned.get(owner, ()))
        for flight in flights:
            flight.set()
        while any(flight in self.owned.get(owner, ()) for flight in flights):
            await steps(1)
        return len(flights)

    async def reset_prefix_cache(self) -> bool:
        await steps(1)
        self.log.append("reset")
        return True

    async def answer(self, digest: str | None, turns: int, owner: str = "nobody") -> None:
        """One request in the engine. A name that is missing refuses it, as the engine's own admission does."""
        if digest is not None and digest not in self.names:
            raise AdapterNotLoaded
        aborted = asyncio.Event()
        counted = [self.owned.setdefault(owner, [])]
        if digest is not None:
            counted.append(self.flights.setdefault(digest, []))
        for flights in counted:
            flights.append(aborted)
        try:
            for _ in range(turns):
                await steps(1)
                if aborted.is_set():
                    raise AdapterWithdrawn
        finally:
            for flights in counted:
                flights.remove(aborted)


@dataclass
class StrictFiles:
    """Files by name. Removing those of a registered adapter is what must never happen."""

    log: list[str]
    engine: StrictEngine
    held: set[str] = field(default_factory=set)
    failures: dict[str, Exception] = field(default_factory=dict)
    removable: bool = True
    gate: asyncio.Event | None = None

    async def fetch(self, tenant: TenantId, digest: str) -> FetchedAdapter:
        self.log.append(f"fetch {digest}")
        await steps(2)
        if self.gate is not None:
            await self.gate.wait()
        if error := self.failures.get(digest):
            raise error
        self.held.add(digest)
        return FetchedAdapter(Path("/nowhere") / digest, verified)

    def remove(self, digest: str) -> bool:
        assert digest not in self.engine.names, "the files of an adapter that the engine may read are removed"
        self.log.append(f"remove {digest}")
        if self.removable:
            self.held.discard(digest)
        return digest not in self.held


class Bench:
    """A placement of strict parts, and a clock that moves when told to."""

    def __init__(self, max_resident: int = 4, drain_seconds: float = 0.0) -> None:
        self.now = 1000.0
        self.log: list[str] = []
        self.engine = StrictEngine(self.log, capacity=max_resident)
        self.files = StrictFiles(self.log, self.engine)
        self.residency = Residency(
            ResidencyPolicy(max_resident=max_resident, idle_seconds=IDLE_SECONDS), lambda: self.now
        )
        self.placement = Placement(self.engine, self.files, self.residency, drain_seconds, lambda: self.now)

    async def request(self, tenant: TenantId, digest: str, turns: int = 1) -> None:
        async with self.placement.held(tenant, digest):
            await self.engine.answer(digest, turns, tenant)

    def start(self, tenant: TenantId, digest: str, turns: int = 1) -> asyncio.Task[None]:
        return asyncio.create_task(self.request(tenant, digest, turns))

    async def status(self, tenant: TenantId, digest: str) -> int:
        """How a request is answered: 200, or the status of its refusal."""
        return await status_of(self.request(tenant, digest))

    def reserved(self) -> int:
        return sum(self.residency.reservations(digest) for digest in self.residency.resident())

    def is_quiet(self) -> bool:
        """Nothing is held, and nothing is being loaded or unloaded: what a caller who went away began goes on."""
        return not self.reserved() and not self.engine.changing.locked() and not self.placement._changing.locked()

    def in_use_or_room(self) -> None:
        """Between requests: engine, files and places agree, and nothing is held."""
        assert self.reserved() == 0
        assert set(self.engine.names) <= set(self.residency.resident())
        assert not self.engine.leftovers
        assert self.files.held == set(self.engine.names)


async def status_of(work: Awaitable[Any]) -> int:
    try:
        await work
    except (RequestRefused, EngineRefused) as refusal:
        return refusal.status
    return 200


def nothing_left(bench: Bench, prefix: str) -> None:
    """Nothing of the tenant whose digests start with ``prefix`` is anywhere."""
    everywhere = {*bench.engine.names, *bench.engine.leftovers, *bench.files.held, *bench.residency.resident()}
    assert not {digest for digest in everywhere if digest.startswith(prefix)}
