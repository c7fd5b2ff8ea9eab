"""The life of a replica's process, from before its engine runs until nothing of it is left.

The lifespan, the routes, the lease and the adapters' folder are the real ones; the engine, the bus and the object
store are stand-ins.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from consumers.runtime import dispatch
from consumers.runtime.dispatch import Dispatcher
from consumers.runtime.parsing import Record
from consumers.runtime.signatures import Signatures
from inference import wiring
from inference.engine.errors import EngineDead
from inference.engine.supervisor import RestartPolicy
from inference.replica.load_audit import LoadAudit
from inference.settings import InferenceSettings
from inference.wiring import Replica
from schemas.bus.envelope import Event, decode
from schemas.bus.events import AdapterActivated
from schemas.bus.outcome import Outcome
from tenancy.bootstrap import Tenancy
from tenancy.platform.clock import utc_now
from tenancy.service.background_server import BackgroundWork
from tests.fixtures.records import record_of
from tests.fixtures.telemetry import observed
from tests.unit.api.replica import ACTIVE, CHAT, MODELS, OURS, PLAIN, TENANT, AnsweringEngine, Bench, FakeGrammars, code

BOUND_SECONDS = 30
LIVE, READY = "/health/live", "/health/ready"


class StartingEngine(AnsweringEngine):
    """Starts when it is let."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen
        self.may_start = asyncio.Event()
        self.failure: Exception | None = None
        self.hangs = False
        self.is_running = False

    @property
    def has_ended(self) -> bool:
        return not self.is_running

    async def start(self) -> None:
        self.seen.append("engine starts")
        async with asyncio.timeout(BOUND_SECONDS):
            await self.may_start.wait()
        if self.failure is not None:
            raise self.failure
        self.is_running, self.hangs = True, False

    async def close(self) -> None:
        self.is_running = False
        self.seen.append("engine closed")

    def is_healthy(self) -> bool:
        return self.is_running and not self.hangs

    async def require_answer(self) -> None:
        self.hangs = "hangs" in self.seen
        if self.hangs:
            self.may_start.clear()
            raise EngineDead


class Consumer:
    """A consumer of a bus with these records."""

    records: Sequence[Record] = ()
    dispatcher: Dispatcher[Any]
    outcomes: Sequence[Outcome | None] = ()

    def __init__(self, dispatcher: Dispatcher[Any], *_: Any) -> None:
        type(self).dispatcher = dispatcher

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        type(self).outcomes = [await self.dispatcher.handle(record) for record in self.records]
        yield

    def is_alive(self) -> bool:
        return True

    async def is_ready(self) -> bool:
        return True


class LivingGrammars(FakeGrammars):
    """As its own class too: what ``Grammars.of`` makes."""

    def of(self, _: Path) -> LivingGrammars:
        return self

    def start(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Process:
    """A replica as :func:`inference.wiring.main` makes it. ``seen`` is what happened, in order."""

    def __init__(self, bench: Bench, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench, self.seen = bench, list[str]()
        self.engine = StartingEngine(self.seen)
        settings = InferenceSettings(
            kafka_bootstrap_servers="localhost:1",
            s3_bucket="bucket",
            base_model=str(home),
            adapter_dir=home / "memory",
            replica_id="replica-0",
            **OURS.write(home),
            receipt_key=str(home / "receipt.pem"),
        )
        self.adapters = settings.adapter_dir / settings.replica_id

        @asynccontextmanager
        async def tenancy(*_: Any) -> AsyncIterator[Tenancy]:
            yield bench.tenancy

        fakes: dict[str, Any] = {
            "open_tenancy": tenancy,
            "model_digest": lambda _: "c" * 64,
            "linear_shapes": lambda _: {},
            "Engine": lambda *_: self.engine,
            "Consumer": Consumer,
            "Grammars": LivingGrammars(),
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(wiring, name, fake)
        self.reader = InMemoryMetricReader()
        telemetry = observed("inference", InMemorySpanExporter(), self.reader, CollectorRegistry())
        self.replica = Replica(settings, telemetry)
        self.replica.api.credentials = bench.api.credentials  # by the bench's clock
        self.behind = BackgroundWork(self.replica.running, lambda: self.seen.append("server stops"))
        bench.app = self.replica.api.build(self.behind.lifespan)
        bench.health = self.replica.health()

    def started(self) -> Any:
        """Inside, the server serves: its lifespan has begun."""
        return self.bench.app.router.lifespan_context(self.bench.app)

    async def until(self, status: int, path: str) -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            while (await self.bench.ask_health(path)).status_code != status:
                await asyncio.sleep(0.01)

    async def until_seen(self, what: str) -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            while what not in self.seen:
                await asyncio.sleep(0.01)

    def counted(self, name: str) -> int:
        """A counter without labels."""
        (resource,) = self.reader.get_metrics_data().resource_metrics  # type: ignore[union-attr]
        found = [metric for scope in resource.scope_metrics for metric in scope.metrics if metric.name == name]
        return int(found[0].data.data_points[0].value)  # type: ignore[union-attr]

    def hold_an_adapter(self) -> None:
        """As a fetch leaves it."""
        folder = self.adapters / ("a" * 64)
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(b"decrypted weights")

    def left(self) -> list[Path]:
        return list(self.adapters.parent.rglob("*"))


@pytest.fixture
def process(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Process:
    return Process(bench, tmp_path, monkeypatch)


async def test_a_replica_that_is_starting_says_so(bench: Bench, process: Process) -> None:
    async with process.started():
        await process.until_seen("engine starts")
        assert ((await bench.ask_health(LIVE)).status_code, (await bench.ask_health(READY)).status_code) == (200, 503)
        response = await bench.post(CHAT)
        assert (response.status_code, code(response)) == (503, "starting")
        assert (await bench.get(MODELS)).status_code == 503
        assert (await bench.post(CHAT, None)).status_code == 401
        process.engine.may_start.set()
        await process.until(200, READY)
        assert (await bench.ask_health(LIVE)).status_code == 200
        assert (await bench.post(CHAT, PLAIN)).status_code == 200
    assert not process.behind.has_failed


async def test_events_are_read_and_told_beside_the_loop_that_answers_and_handled_on_it(
    bench: Bench, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, set[str]] = {}

    def noting(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any) -> Any:
            threads.setdefault(what, set()).add(threading.current_thread().name)
            return call(*given)

        return noted

    data = AdapterActivated(adapter_digest=ACTIVE, previous_digest=None, activation=1)
    burst = Event(subject=PLAIN, data=data, time=utc_now(), source="/test")
    monkeypatch.setattr(Consumer, "records", [record_of(burst, offset=number) for number in range(50)])
    monkeypatch.setattr(dispatch, "decode", noting("parsed", decode))
    monkeypatch.setattr(Signatures, "_is_signed", noting("verified", lambda *_: True))
    monkeypatch.setattr(Dispatcher, "record", noting("told", Dispatcher.record))
    monkeypatch.setattr(bench.views, "forget", noting("handled", bench.views.forget))
    monkeypatch.setattr(wiring, "TenantStateCache", lambda *_: bench.views)
    process.engine.may_start.set()
    async with process.started():
        await process.until(200, READY)
    assert Consumer.outcomes == [Outcome.NOOP_DUPLICATE] * 50
    assert Consumer.dispatcher.policy.fetch_wait_ms == 2_000, "alone in its group it need not ask twice a second"
    assert threads == {
        **{what: {"bus"} for what in ("parsed", "verified", "told")},
        "handled": {threading.current_thread().name},
    }


async def test_a_replica_answers_while_the_loop_of_its_bus_is_blocked(
    bench: Bench, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()

    @asynccontextmanager
    async def running(self: Consumer) -> AsyncIterator[None]:
        asyncio.get_running_loop().call_later(0.01, may_go_on.wait, BOUND_SECONDS)
        process.seen.append("bus blocked")
        yield

    monkeypatch.setattr(Consumer, "running", running)
    process.engine.may_start.set()
    async with process.started():
        await process.until_seen("bus blocked")
        await process.until(200, READY)
        assert (await bench.post(CHAT, PLAIN)).status_code == 200
        assert not may_go_on.is_set()
        may_go_on.set()
    assert not process.behind.has_failed


async def test_a_replica_that_ends_is_not_ready_and_answers_what_it_is_still_asked(
    bench: Bench, process: Process
) -> None:
    process.engine.may_start.set()
    async with process.started():
        await process.until(200, READY)
        process.replica.ends()
        assert ((await bench.ask_health(LIVE)).status_code, (await bench.ask_health(READY)).status_code) == (200, 503)
        assert (await bench.post(CHAT, PLAIN)).status_code == 200


async def test_a_replica_asks_its_engine_by_itself_and_starts_another_when_that_hangs(
    bench: Bench, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "RESTARTS", RestartPolicy(first_seconds=0.01, poll_seconds=0.01))
    process.engine.may_start.set()
    process.seen.append("hangs")
    async with process.started():
        await process.until_seen("engine closed")
        assert ((await bench.ask_health(LIVE)).status_code, (await bench.ask_health(READY)).status_code) == (200, 503)
        response = await bench.post(CHAT, PLAIN)
        assert (response.status_code, code(response)) == (503, "engine_restarting")
        assert response.headers["retry-after"] == "5"
        process.seen.remove("hangs")
        process.engine.may_start.set()
        await process.until(200, READY)
        assert (await bench.post(CHAT, PLAIN)).status_code == 200
        assert process.counted("sano_inference_engine_restarts") == 1
    assert process.seen == ["engine starts", "engine closed"] * 2


async def test_a_replica_whose_engine_does_not_start_again_is_not_alive(
    bench: Bench, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = RestartPolicy(first_seconds=0.01, longest_seconds=0.01, give_up_after=3, poll_seconds=0.01)
    monkeypatch.setattr(wiring, "RESTARTS", policy)
    process.engine.may_start.set()
    async with process.started():
        await process.until(200, READY)
        process.engine.failure = RuntimeError("no memory")
        process.engine.hangs = True
        await process.until(503, LIVE)
        assert (await bench.ask_health(READY)).status_code == 503
    assert process.seen.count("engine starts") >= 3


async def test_a_replica_that_ends_in_good_order_leaves_no_adapter(process: Process) -> None:
    process.hold_an_adapter()  # an earlier process was killed
    async with process.started():
        await process.until_seen("engine starts")
        assert process.left() == [process.adapters]
        process.engine.may_start.set()
        await process.until(200, READY)
        process.hold_an_adapter()
    assert process.left() == []
    assert process.seen == ["engine starts", "engine closed"]


async def test_a_replica_that_is_stopped_while_it_starts_ends_its_engine_and_leaves_no_adapter(
    process: Process,
) -> None:
    async with process.started():
        await process.until_seen("engine starts")
    assert process.seen == ["engine starts", "engine closed"]
    assert process.left() == []
    assert not process.behind.has_failed


async def test_a_replica_whose_engine_does_not_start_stops_its_server_and_leaves_no_adapter(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    process.hold_an_adapter()
    process.engine.failure = RuntimeError("engine core initialization failed")
    process.engine.may_start.set()
    async with process.started():
        await process.until_seen("server stops")
    assert process.seen == ["engine starts", "engine closed", "server stops"]
    assert process.behind.has_failed
    assert process.left() == []
    assert [record.message for record in caplog.records] == ["start failed"]
    assert vars(caplog.records[0])["reason"] == "engine core initialization failed"


async def test_files_are_removed_after_the_engine_that_reads_them(process: Process) -> None:
    close = process.engine.close

    async def closing() -> None:
        assert process.adapters.is_dir()
        await close()

    process.engine.close = closing  # type: ignore[method-assign]
    async with process.started():
        await process.until_seen("engine starts")
    assert "engine closed" in process.seen
    assert process.left() == []


async def test_a_replica_that_stops_in_an_outage_does_not_wait_for_store_and_bus(
    bench: Bench, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    audits: list[LoadAudit] = []

    def load_audit(*parts: Any) -> LoadAudit:
        audits.append(LoadAudit(*parts))
        return audits[0]

    @asynccontextmanager
    async def tenancy(*_: Any) -> AsyncIterator[Tenancy]:
        try:
            yield bench.tenancy
        finally:
            process.seen.append(f"tenancy closed, {len(process.left())} files left")  # closing it may take long

    monkeypatch.setattr(wiring, "open_tenancy", tenancy)
    monkeypatch.setattr(wiring, "LoadAudit", load_audit)
    monkeypatch.setattr(wiring, "LAST_SECONDS", 0.01)
    process.engine.may_start.set()
    async with asyncio.timeout(BOUND_SECONDS):
        async with process.started():
            await process.until(200, READY)
            assert (await bench.post(CHAT, PLAIN)).status_code == 200
            process.hold_an_adapter()
            monkeypatch.setattr(bench.publisher, "publish", hangs)
            monkeypatch.setattr(bench.objects, "get", hangs)
            audits[0].note(TENANT, ACTIVE)
    closed = "tenancy closed, 0 files left"
    assert process.seen == ["engine starts", "engine closed", closed, closed], "that of the bus's loop too"


def test_a_replica_serves_its_api_and_the_platforms_routes_on_ports_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = InferenceSettings(
        kafka_bootstrap_servers="localhost:1",
        s3_bucket="bucket",
        base_model=str(tmp_path),
        **OURS.write(tmp_path),
        receipt_key=str(tmp_path / "receipt.pem"),
        inference_port=8001,
        health_host="0.0.0.0",  # noqa: S104
        health_port=8082,
        max_connections=77,
    )
    served: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(wiring, "loaded_or_exit", lambda _: settings)
    monkeypatch.setattr(wiring, "configure_logging", lambda _: None)
    telemetry = observed("inference", InMemorySpanExporter(), InMemoryMetricReader(), CollectorRegistry())
    monkeypatch.setattr(wiring, "configure_telemetry", lambda *_: telemetry)
    monkeypatch.setattr(wiring, "run_server", lambda app, _, **how: served.append((app, how)))
    wiring.main()
    [(build, how)] = served
    beside = how["beside"]
    assert (how["port"], how["connections"]) == (8001, 77)
    assert (beside.host, beside.port) == ("0.0.0.0", 8082)  # noqa: S104
    assert {route.path for route in beside.app.routes} == {LIVE, READY, "/metrics"}
    keys = "/tenants/{tenant}/jwks.json"
    assert {route.path for route in build(None).routes} == {
        CHAT,
        MODELS,
        "/v1/completions",
        "/v1/responses",
        "/v1/feedback",
        "/v1/embeddings",
        keys,
    }
