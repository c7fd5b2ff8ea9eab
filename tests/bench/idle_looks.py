"""What the services' looks at unfinished work cost where there is none, at 10 and at 100,000 tenants; and how soon they
find what comes up while 50 of the 100,000 are at work.

The store is SeaweedFS. A proxy (:mod:`tests.bench.delay_proxy`) counts the requests, and each takes 25 ms there, as on
the way to a region's bucket. The tenants' states are written past it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from consumers.adapters.withdrawals import WithdrawalReconciler
from consumers.curation.rescans import RescanReconciler
from consumers.curation.withdrawals import note
from consumers.ledger.inventory import Inventory
from consumers.ledger.keeper import AuditKeeper
from consumers.purge.driver import PurgeReconciler
from consumers.purge.handlers import PurgePorts, on_purge_requested
from consumers.purge.policy import PurgePolicy
from consumers.purge.watchdog import Watchdog
from consumers.runtime.settings import ConsumerSettings
from consumers.training.handlers import TrainingPorts, on_training_requested
from consumers.training.runner import Runner
from schemas.bus.envelope import DataT, Event
from schemas.bus.events import ExampleWithdrawn, PurgeRequested, TrainingRequested
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from schemas.tenant.holds import LegalHold
from tenancy.audit.checkpoints import Checkpointer
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.lifecycle.replicas import Replicas
from tenancy.platform.clock import utc_now
from tenancy.platform.concurrency import gathered
from tenancy.service.periodic import LOOKS, Periodic
from tenancy.state.open_work import announce
from tenancy.state.rounds import TAKEN
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.objects import ObjectStore
from tenancy.tenant_id import TenantId
from tests.bench.frame import ENTRY_SECONDS, Entry, Measured, Options, Result, Side, interleaved, say
from tests.bench.stand import WEED, Delayed, KeyFiles, Store, child_environment, delayed, weed
from tests.fixtures.all_keys import AllKeys

DELAY_MILLISECONDS = 25.0
SIZES, QUICK_SIZES = (10, 1_000, 100_000), (10, 100)
AT_WORK = 50
QUIESCE_SECONDS = 65.0
WAIT_SECONDS = 60.0
RECONCILE_SECONDS: float = ConsumerSettings.model_fields["reconcile_seconds"].default


@dataclass
class Workers:
    """Starts nothing. All that it was asked to start goes on."""

    started: list[str] = field(default_factory=list)

    async def look(self) -> Self:
        return self

    def has_capacity(self) -> bool:
        return True

    def is_running(self, tenant: TenantId, run_id: str) -> bool:
        return tenant in self.started

    async def start(self, tenant: TenantId, run_id: str, attempt: int) -> None:
        self.started.append(tenant)


class Installation:
    """A bucket with so many tenants, and one process of each service. ``store`` is the bucket by the proxy, ``direct``
    past it.
    """

    def __init__(
        self, size: int, signer: AllKeys, scratch: Path, store: ObjectStore, direct: ObjectStore, proxy: Delayed
    ) -> None:
        self.size = size
        self.store, self.direct, self.proxy = store, direct, proxy
        self.tenancy: Tenancy = assemble(self.store, KeyFileMasterKey(bytes(32)), RecordingPublisher(), "/bench")
        self.workers = Workers()
        tenancy = self.tenancy
        self.runner = Runner(tenancy, self.workers, scratch, 30.0, 10.0, QUIESCE_SECONDS)
        self.withdrawals = WithdrawalReconciler(
            tenancy, signer.certificate, Replicas(self.store, utc_now, 300.0), QUIESCE_SECONDS
        )
        self.purging = PurgeReconciler(tenancy, signer, PurgePolicy(quiesce_seconds=QUIESCE_SECONDS))
        self.keeper = AuditKeeper(tenancy, Checkpointer(tenancy.audit, signer), QUIESCE_SECONDS)
        self.rescans = RescanReconciler(tenancy, QUIESCE_SECONDS)
        self.inventory = Inventory(tenancy)
        self.signer = signer

    async def seed(self) -> None:
        """The states and keys of tenants for which there is nothing to do."""
        await gathered(self._seeded(number) for number in range(self.size))

    async def _seeded(self, number: int) -> None:
        tenant = name(number)
        state = TenantState(tenant=tenant, nonce="seeded")
        await self.direct.put(object_keys.state_key(tenant), state.model_dump_json().encode())
        await self.direct.put(object_keys.key_key(tenant), b"{}")

    def looks(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "training runner": self.runner.reconcile,
            "withdrawal driver": self.withdrawals.reconcile,
            "purge driver": self.purging.reconcile,
            "purge watchdog": Watchdog(self.purging).reconcile,
            "audit keeper": self.keeper.reconcile,
            "missed identifiers": self.rescans.reconcile,
        }

    async def idle(self) -> int:
        """Requests of one look of each."""
        before = await self.proxy.requests()
        for look in self.looks().values():
            await look()
        return await self.proxy.requests() - before

    async def round_tick(self) -> int:
        """Requests of one tick of each slow round, the most that there are: nobody's storage was counted today."""
        for number in range(TAKEN):  # whom the round comes to
            await self._with_key(TenantId(name(number)))
        rounds = (self.runner, self.withdrawals, self.purging, self.keeper, self.rescans)
        before = await self.proxy.requests()
        for sweep in (*(each.sweep for each in rounds), self.inventory.take):
            await sweep()
        return await self.proxy.requests() - before

    async def at_work(self) -> None:
        """Trainings that go on, texts that a hold keeps, and purges that a hold blocks."""
        for number in range(AT_WORK):
            tenant = TenantId(name(number))
            await self._with_key(tenant)
            match number % 3:
                case 0:
                    await self._request_run(tenant, lambda: None)
                    self.workers.started.append(tenant)
                case 1:
                    await announce(self.store, "withdrawals", tenant)
                    await self.tenancy.states.swap(tenant, held)
                case 2:
                    await self.tenancy.states.swap(tenant, held)
                    await self._request_purge(tenant, lambda: None)

    async def _with_key(self, tenant: TenantId) -> None:
        key = object_keys.key_key(tenant)
        await self.direct.delete_versions([version async for version in self.direct.versions(key)])
        await self.tenancy.keys.create(tenant)

    async def _request_run(self, tenant: TenantId, wake: Callable[[], None]) -> None:
        requested = TrainingRequested(run_id="r1", trigger="operator")
        await on_training_requested(self._event(tenant, requested), TrainingPorts(self.tenancy, wake))

    async def _request_purge(self, tenant: TenantId, wake: Callable[[], None]) -> None:
        requested = PurgeRequested(purge_id="p1", reason_code="churned", requested_by="bench")
        ports = PurgePorts(self.tenancy, self.signer.trust, self.purging, wake)
        await on_purge_requested(self._event(tenant, requested), ports)

    def _event(self, tenant: TenantId, data: DataT) -> Event[DataT]:
        return Event(subject=tenant, data=data, time=utc_now(), source="/bench")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[dict[str, Periodic]]:
        """Every look at its pace, as the services run them."""
        made = {look: Periodic(look, RECONCILE_SECONDS, work, at_once=LOOKS) for look, work in self.looks().items()}
        for periodic in made.values():
            periodic.start()
        try:
            yield made
        finally:
            for periodic in made.values():
                await periodic.stop()

    async def found(self, number: int) -> dict[str, float]:
        """Seconds from an event of a tenant that was idle until its work is done or begun."""
        fresh = [TenantId(name(self.size - 1 - 4 * number - each)) for each in range(4)]
        run, withdrawing, purged, due = fresh
        for tenant in fresh:
            await self._with_key(tenant)
        took: dict[str, float] = {}
        async with self.running() as periodics:
            await asyncio.sleep(RECONCILE_SECONDS * (1 + number / 10))
            began = time.perf_counter()
            await self._request_run(run, periodics["training runner"].poke)
            took["a requested run starts"] = await since(began, lambda: _is(run in self.workers.started))
            began = time.perf_counter()
            await self._withdraw(withdrawing)
            took["a withdrawal is decided"] = await since(began, lambda: self._is_closed(withdrawing))
            began = time.perf_counter()
            await self._request_purge(purged, periodics["purge driver"].poke)
            took["a purge passes the point of no return"] = await since(began, lambda: self._is_shredded(purged))
            began = time.perf_counter()
            await self._request_purge(due, lambda: None)
            took["a purge step is taken that nobody woke the driver for"] = await since(
                began, lambda: self._is_shredded(due)
            )
        return took

    async def _withdraw(self, tenant: TenantId) -> None:
        """As curation leaves it. Nobody wakes the driver: it is another service's."""
        event = self._event(tenant, ExampleWithdrawn(example_id="e1", reason_code="patient-request"))
        await note(await self.tenancy.begin(event), event)
        await self.tenancy.states.swap(tenant, withdrawn)

    async def _is_closed(self, tenant: TenantId) -> bool:
        return bool([key async for key in self.direct.keys(object_keys.tenant_area(tenant, "withdrawals", "closed"))])

    async def _is_shredded(self, tenant: TenantId) -> bool:
        return not await self.direct.exists(object_keys.key_key(tenant))


async def _is(value: bool) -> bool:
    return value


async def since(began: float, is_done: Callable[[], Awaitable[bool]]) -> float:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await is_done():
            await asyncio.sleep(0.02)
    return time.perf_counter() - began


def first_page(environment: Mapping[str, str]) -> float:
    """Seconds from the start of ``sano tenant list``, Python's own included, to its first line."""
    started = time.perf_counter()
    argv = [sys.executable, "-m", "producers.cli.main", "tenant", "list"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment) as command:
        assert command.stdout is not None
        line, took = command.stdout.readline(), time.perf_counter() - started
        command.kill()
    if not line:
        raise RuntimeError("sano tenant list printed nothing")
    return took


def name(number: int) -> str:
    return f"tenant-{number:06d}"


def withdrawn(state: TenantState) -> TenantState:
    return state.evolve(curation=state.curation.evolve(eligibility_version="w1"))


def held(state: TenantState) -> TenantState:
    """Under a hold, with texts that it keeps."""
    hold = LegalHold(hold_id="h1", reason_code="litigation", placed_by="bench", placed_at=utc_now())
    return withdrawn(state).evolve(holds=(hold,), texts_kept=1)


def run(options: Options, home: Path) -> Result:
    with ExitStack() as stack:
        store = stack.enter_context(weed(home))
        proxy = stack.enter_context(delayed(home, store, DELAY_MILLISECONDS, "looks"))
        return asyncio.run(_run(options, home, store, proxy))


async def _run(options: Options, home: Path, store: Store, proxy: Delayed) -> Result:
    signer, behind = AllKeys.made(), replace(store, endpoint_url=proxy.endpoint_url)
    made: dict[int, Installation] = {}
    async with asyncio.timeout(ENTRY_SECONDS), AsyncExitStack() as stack:
        for size in QUICK_SIZES if options.quick else SIZES:
            say(f"  {size:,} tenants")
            bucket = store.bucket("looks")
            direct = await stack.enter_async_context(aclosing(store.objects(bucket)))
            slow = await stack.enter_async_context(aclosing(behind.objects(bucket)))
            made[size] = Installation(size, signer, home, slow, direct, proxy)
            await made[size].seed()
        command = child_environment(
            SANO_KAFKA_BOOTSTRAP_SERVERS="localhost:1",  # it has nothing to say to the bus
            SANO_MASTER_KEY_FILE=str(KeyFiles.made(home).master),
            **behind.settings(bucket),
        )
        return await _measured(options, made, command)


async def _measured(options: Options, made: dict[int, Installation], command: Mapping[str, str]) -> Result:
    sizes = list(made)
    largest = made[sizes[-1]]

    def idle(size: int) -> Callable[[int], Awaitable[float]]:
        async def step(_: int) -> float:
            return float(await made[size].idle())

        return step

    values = await interleaved(options.rounds, {f"{size:,} tenants": idle(size) for size in sizes})
    more = {f"requests of the idle looks at {size}": Measured("", found) for size, found in values.items()}
    pages = [await asyncio.to_thread(first_page, command) for _ in range(options.rounds)]
    more["the first page of `sano tenant list`"] = Measured("s", tuple(pages))
    tick = await largest.round_tick()
    await largest.at_work()
    found: dict[str, list[float]] = {}
    for number in range(options.rounds):
        for what, seconds in (await largest.found(number)).items():
            say(f"  round {number + 1} of {options.rounds}  {what}: {seconds:.3g} s")
            found.setdefault(what, []).append(seconds)
    more |= {what: Measured("s", tuple(seconds)) for what, seconds in found.items()}
    busy = await largest.idle()
    first, last = f"{sizes[0]:,} tenants", f"{sizes[-1]:,} tenants"
    return Result(
        entry="idle_looks",
        question="What does it cost to look for unfinished work, and how soon is it found?",
        better="lower",
        ours=Side(last, "one look of each of the six, nothing to do", Measured("requests", values[last])),
        peer=Side(first, "the same", Measured("requests", values[first])),
        more=more,
        facts={
            "store": f"{WEED}, {DELAY_MILLISECONDS:g} ms for each request",
            "pause between looks": f"{RECONCILE_SECONDS:g} s",
            f"requests of the looks with {AT_WORK} tenants at work": busy,
            "requests of one tick of the six slow rounds, every 15 s at most": tick,
        },
    )


ENTRY = Entry("idle_looks", run, ("pydantic", "cryptography"))
