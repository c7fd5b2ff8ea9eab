"""A worker that loses its lease says why: in its log, and in the state where that was its last attempt."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from consumers.training import worker as worker_module
from consumers.training.publication import MAX_ATTEMPTS
from consumers.training.result import TrainingStopped
from consumers.training.worker import FAILED, FENCED, NO_LEASE, OVER, Worker, work
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from tenancy.bootstrap import Tenancy
from tenancy.errors import LeaseLost, Refused, StoreUnavailable
from tenancy.state.leases import Lease, Leases
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import gate_of_tests
from tests.invariants.test_interrupted import RUN, run_of, with_a_queued_run
from tests.invariants.worlds import NAME, learned, purged
from tests.world.fakes import FakeTrainer
from tests.world.world import LEASE_SECONDS, World

NEEDS_THREADS = True  # a training waits in one for the renewal that fails
BOUND_SECONDS = 60.0
REFUSED = Refused("object-store-refused", "refused: the object store answered 403")
AWAY = StoreUnavailable("the object store is out of reach")
CONTENT = "Frau Müller"


class Failing(Leases):
    """Renews soon and fails each time: by the next of ``failures``, of which the last is for ever."""

    failures: Sequence[Exception] = (REFUSED,)

    async def acquire(
        self, run_id: str, on_acquired: Callable[[TenantState, int], TenantState] = lambda state, _: state
    ) -> Lease:
        lease = await super().acquire(run_id, on_acquired)
        object.__setattr__(self, "seconds", 0.001)  # between renewals; the lease lasts as long as it was asked for
        return lease

    async def renew(self, lease: Lease) -> Lease:
        failure, *rest = self.failures
        object.__setattr__(self, "failures", rest or [failure])
        raise failure


class Endless(FakeTrainer):
    """Trains until it has to stop."""

    worker: Worker

    def train(self, *_: Any) -> Any:
        assert self.worker.stop.wait(BOUND_SECONDS)
        raise TrainingStopped


async def attempted(world: World, tenant: TenantId, *failures: Exception) -> None:
    store = await world.outside.store(tenant)
    leases = Failing(store, world.outside.outbox, "worker", world.clock, LEASE_SECONDS)
    object.__setattr__(leases, "failures", failures)
    trainer = Endless()
    trainer.worker = Worker(world.outside, store, world.keys.manifest, trainer, gate_of_tests, leases, world.scratch)
    async with asyncio.timeout(BOUND_SECONDS):
        with pytest.raises(LeaseLost):
            await trainer.worker.attempt(RUN)


def lines(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.message == message]


async def test_a_renewal_that_is_refused_is_logged_and_fails_the_attempt_under_its_code(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    tenant = await with_a_queued_run(world)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert (await run_of(world, tenant)).status == "queued"
        await attempted(world, tenant, REFUSED)
        assert (await run_of(world, tenant)).attempts == attempt
    said = [(line["reason"], line["error"]) for line in lines(caplog, "lease lost")]
    assert said == [(REFUSED.code, str(REFUSED))] * MAX_ATTEMPTS
    run = await run_of(world, tenant)
    assert (run.status, run.reason_code) == ("failed", REFUSED.code)


async def test_renewals_that_are_tried_again_are_logged_and_a_lost_lease_is_no_other_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    tenant = await with_a_queued_run(world)
    await attempted(world, tenant, AWAY, AWAY, LeaseLost(RUN))
    again = lines(caplog, "lease renewal failed, will be retried")
    assert [line["reason"] for line in again] == [str(AWAY)] * 2
    assert [line["reason"] for line in lines(caplog, "lease lost")] == ["lease-lost"]


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Runs the worker's entry on a tenancy; its exit status."""

    async def run(tenancy: Tenancy | Exception, tenant: TenantId, run_id: str) -> int:
        @asynccontextmanager
        async def opened(*_: Any) -> AsyncIterator[Tenancy]:
            if isinstance(tenancy, Exception):
                raise tenancy
            yield tenancy

        monkeypatch.setattr(worker_module, "open_tenancy", opened)
        monkeypatch.setattr(worker_module, "signer", lambda *_: None)
        monkeypatch.setattr(worker_module, "LoraTrainer", lambda *_: FakeTrainer())
        monkeypatch.setattr(worker_module, "standard_gate", gate_of_tests)
        settings: Any = SimpleNamespace(
            base_model="m",
            model_name=lambda: "m",
            work_dir=tmp_path,
            lease_seconds=LEASE_SECONDS,
            handler_deadline_seconds=BOUND_SECONDS,
        )
        return await work(settings, tenant, run_id, "holder")

    return run


async def test_the_exit_status_says_whether_the_attempt_is_over_was_not_its_own_or_met_a_purge(
    tmp_path: Path, status: Callable[..., Any]
) -> None:
    world = World(tmp_path)
    tenant = await with_a_queued_run(world)
    lease = await (await world.worker(tenant)).leases.acquire(RUN)
    assert await status(world.outside, tenant, RUN) == NO_LEASE
    world.now = lease.record.expires_at
    assert await status(world.outside, tenant, RUN) == OVER
    await world.settle()
    await purged(world, tenant)
    assert await status(world.outside, tenant, RUN) == FENCED


async def test_what_stops_a_worker_unforeseen_is_one_line_that_quotes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: Callable[..., Any]
) -> None:
    world = World(tmp_path)
    tenant = await world.onboard(NAME)
    await learned(world, tenant)
    with caplog.at_level(logging.ERROR):
        assert await status(world.outside, tenant, RUN) == FAILED
        assert await status(world.outside, tenant, "no-such-run") == FAILED
        assert await status(AWAY, tenant, RUN) == FAILED
        await world.memory.put(object_keys.state_key(tenant), json.dumps({"tenant": CONTENT}).encode())
        assert await status(world.outside, tenant, RUN) == FAILED
    said = [line["error"] for line in lines(caplog, "worker failed")]
    assert said[0] == "refused: this run is not waiting for a worker"
    assert said[1].startswith("ObjectNotFound at ")
    assert said[2] == str(AWAY)
    assert said[3].startswith("ValidationError at ")
    assert CONTENT not in str([vars(record) for record in caplog.records])
