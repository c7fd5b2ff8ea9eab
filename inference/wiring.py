"""Wires a serving replica: engine, routes and agent on one event loop, and on a second what reads the bus."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from starlette.applications import Starlette

from consumers.runtime.dispatch import Dispatcher, Handlers, handled_on, on
from consumers.runtime.policy import LANES
from consumers.runtime.service import Consumer
from consumers.runtime.signatures import Signatures
from inference.adapters.adapter_files import AdapterFiles, adapter_folder
from inference.adapters.pins import Pins, pin_limit
from inference.adapters.placement import Placement
from inference.adapters.residency import Residency, ResidencyPolicy
from inference.adapters.switching import Switching
from inference.api.answers import Answers
from inference.api.embeddings import Embeddings
from inference.api.feedback import Feedback
from inference.api.routes import Api
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.grammars import Grammars
from inference.engine.supervisor import RestartPolicy, SupervisedEngine
from inference.engine.suspects import Suspects
from inference.knowledge.database_search import DatabaseSearch
from inference.knowledge.loaded_indexes import LoadedIndexes
from inference.knowledge.memory_search import MemorySearch
from inference.knowledge.retrieval import Retrieval
from inference.replica import agent
from inference.replica.agent import AgentPorts
from inference.replica.lease import ReplicaLease
from inference.replica.load_audit import AUDIT_SECONDS, LoadAudit
from inference.replica.warming import Warming
from inference.settings import InferenceSettings
from inference.tenants.answer_ids import AnswerIds
from inference.tenants.binding import Salts, TenantStateCache
from inference.tenants.credentials import Credentials
from inference.tenants.fair_queue import Capacity, FairQueue
from inference.tenants.turns import Turns
from inference.tenants.usage import UsageMeter, UsageReporter
from schemas.bus import events
from schemas.evidence.purposes import Purpose
from schemas.models.adapter_files import linear_shapes
from schemas.models.model_digest import HUB_PATTERNS, model_digest
from tenancy.bootstrap import Tenancy, open_tenancy, process_keys
from tenancy.embedding.at_first_use import EmbedderAtFirstUse
from tenancy.knowledge.database.connection import opened
from tenancy.platform.settings import loaded_or_exit, refusal_exits
from tenancy.service.background_server import Beside, run_server
from tenancy.service.health import health_app
from tenancy.service.loops import entered_on, own_loop
from tenancy.service.metrics import (
    ADAPTER_LOAD,
    ADAPTERS_UNPINNED,
    ENGINE_RESTARTS,
    FEEDBACK,
    REQUEST_WAIT,
    REQUESTS,
    REQUESTS_ENDING_ENGINE,
    UNAUDITED_LOADS,
)
from tenancy.service.periodic import Periodic
from tenancy.service.telemetry import Telemetry, configure_logging, configure_telemetry
from tenancy.state.spent import Spent
from tenancy.tenant_id import TenantId
from tenancy.tokens import TokenVerifier

SERVICE = "inference"
ENGINE_SECONDS = 30.0
"""Pause between two questions to the engine, so that one that hangs is found out although nobody loads an adapter."""
FRAME_CHARACTERS_PER_TOKEN = 2
"""Of the context: about half of it for passages, at four characters a token of English."""
RESTARTS = RestartPolicy()
FETCH_WAIT_MS = 2_000
"""A replica is alone in its group, so that it takes no partition over from anybody."""
LAST_SECONDS = 5.0
"""For the last audit of loads, and as long for the last report of usage: in an outage each would wait for more than a
minute while decrypted weights lie there, and a replica that is killed over it leaves them.
"""

HANDLERS: Handlers[AgentPorts] = dict(
    [
        on(events.AdapterActivated, agent.on_adapter_activated),
        on(events.AdapterRolledBack, agent.on_adapter_activated),
        on(events.PolicyChanged, agent.on_policy_changed),
        on(events.AdapterRetired, agent.on_adapter_retired),
        on(events.PurgeFenced, agent.on_purge_fenced),
    ]
)


def base_model_directory(settings: InferenceSettings) -> Path:
    """Where the base model is; a hub id is fetched first, as the trainer fetches it."""
    if Path(settings.base_model).is_dir():
        return Path(settings.base_model).resolve()
    from huggingface_hub import snapshot_download

    cache = settings.work_dir / "models"
    return Path(snapshot_download(settings.base_model, cache_dir=cache, allow_patterns=list(HUB_PATTERNS)))


def engine_config(settings: InferenceSettings, base_model: Path) -> EngineConfig:
    """The engine that these settings ask for."""
    return EngineConfig(
        base_model=base_model,
        max_loras=settings.max_loras,
        max_cpu_loras=settings.max_cpu_loras,
        max_lora_rank=settings.max_lora_rank,
        max_model_len=settings.max_model_len,
        max_num_seqs=settings.max_num_seqs,
        kv_cache_gib=settings.kv_cache_gib,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        answer_seconds=settings.engine_answer_seconds,
        tool_call_parser=settings.tool_call_parser,
        reasoning_parser=settings.reasoning_parser,
    )


def freeze_heap() -> None:
    """Keeps the collector from walking what lives as long as the process.

    A full collection of vLLM's and torch's objects stops the event loop, and so every stream, for about a second.
    """
    gc.collect()
    gc.freeze()


class Replica:
    """Everything that a running replica is made of."""

    is_ending = False

    def __init__(self, settings: InferenceSettings, telemetry: Telemetry) -> None:
        self.settings = settings
        self.telemetry = telemetry
        self.keys = process_keys(settings, Purpose.RECEIPT)
        self.signatures = Signatures.of(settings)
        meter = telemetry.meter
        self.loads = ADAPTER_LOAD.of(meter)
        self.waited = REQUEST_WAIT.of(meter)
        self.unaudited = UNAUDITED_LOADS.of(meter)
        self.unpinned = ADAPTERS_UNPINNED.of(meter)
        self.rated = FEEDBACK.of(meter)
        self.restarts = ENGINE_RESTARTS.of(meter)
        self.endangering = REQUESTS_ENDING_ENGINE.of(meter)
        credentials = Credentials(TokenVerifier(self.keys.trust))
        self.api = Api(credentials, REQUESTS.of(meter), settings.max_tenant_requests)
        self.engine: SupervisedEngine | None = None
        self.consumer: Consumer | None = None
        self.lease: ReplicaLease | None = None

    def is_alive(self) -> bool:
        """Also false for a replica that a purge cut off: only a new start leaves nothing of what it held."""
        if self.lease is not None and self.lease.is_fenced:
            return False
        if self.engine is None or self.consumer is None:
            return True  # starting
        return self.engine.is_alive() and self.consumer.is_alive()

    def ends(self) -> None:
        """Not ready from here on: what has begun is answered to its end, and what is new belongs to another replica."""
        self.is_ending = True

    async def is_ready(self) -> bool:
        if self.is_ending or self.engine is None or self.consumer is None or self.lease is None:
            return False
        return self.engine.is_healthy() and self.lease.is_held() and await self.consumer.is_ready()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start in the order that never serves what a purge has fenced; stop in the reverse order, and leave nothing.

        What reads much runs beside the event loop: the health routes answer meanwhile.
        """
        settings = self.settings
        async with AsyncExitStack() as stack:
            # First, so that it is emptied whatever fails below; at the end after the engine, which reads from it.
            folder = stack.enter_context(ExitStack())
            root = folder.enter_context(adapter_folder(settings.adapter_dir / settings.replica_id))
            base_model = await asyncio.to_thread(base_model_directory, settings)
            meter = UsageMeter()
            engine = self._engine(engine_config(settings, base_model), meter)
            tenancy = await stack.enter_async_context(open_tenancy(settings, SERVICE))
            reading = await stack.enter_async_context(own_loop("bus"))
            bus = await stack.enter_async_context(entered_on(reading, open_tenancy(settings, SERVICE)))
            stack.callback(folder.close)  # before bus and store, whose closing waits for what they do not answer
            files = await self._files(tenancy, base_model, root)
            stack.push_async_callback(engine.close)
            await engine.start()
            grammars = Grammars.of(base_model)
            stack.push_async_callback(grammars.close)
            grammars.start()
            audit = LoadAudit(tenancy, settings.replica_id, lambda: self.unaudited.add(1))
            stack.push_async_callback(audit.close, LAST_SECONDS)
            pins = Pins(pin_limit(settings.max_cpu_loras), on_refused=lambda: self.unpinned.add(1))
            placement = self._placement(engine, files, audit, pins)
            engine.on_ended = placement.engine_ended
            turns = self._turns()
            indexes = LoadedIndexes(settings.knowledge_mib * 2**20)
            embedder = EmbedderAtFirstUse(settings, settings.work_dir / "models", stack)
            frame_characters = settings.max_model_len * FRAME_CHARACTERS_PER_TOKEN
            views = TenantStateCache(tenancy, settings.state_ttl_seconds)
            ids = AnswerIds(tenancy, views.require_admitted)
            switching = Switching(placement)
            views.on_blocked = (turns.forget, ids.forget, pins.forget, switching.forget)
            database = await stack.enter_async_context(opened(settings))
            in_database = None if database is None else DatabaseSearch(tenancy, database, views.require_admitted)
            if in_database is not None:
                stack.push_async_callback(in_database.close)
                views.on_blocked += (in_database.forget,)
            in_memory = MemorySearch(tenancy, indexes)
            retrieval = Retrieval(tenancy, in_memory, embedder, frame_characters, in_database, meter.searched)
            views.on_read = pins.follow
            reporter = UsageReporter(meter, tenancy)
            stack.push_async_callback(reporter.close, LAST_SECONDS)
            lease = ReplicaLease(
                tenancy, settings.replica_id, files.base_model_digest, settings.replica_lease_seconds, tenancy.clock()
            )
            await lease.register()
            ports = AgentPorts(tenancy, self.keys.signer(Purpose.RECEIPT), views, placement, lease, indexes, pins)
            consumer = self.consumer_of(bus, ports)
            await stack.enter_async_context(entered_on(reading, consumer.running()))
            warming = Warming(tenancy.objects, lease, views, placement, settings.max_cpu_loras, settings.warm_seconds)
            for periodic in (
                Periodic("replica lease", settings.replica_lease_seconds / 3, warming.renew),
                Periodic("engine", ENGINE_SECONDS, engine.require_answer),
                Periodic("idle adapters", min(settings.idle_seconds, 30.0), placement.unload_idle),
                Periodic(
                    "idle indexes", min(settings.idle_seconds, 30.0), partial(indexes.drop_idle, settings.idle_seconds)
                ),
                Periodic("usage", settings.usage_seconds, reporter.report),
                Periodic("audit of loads", AUDIT_SECONDS, audit.enter),
            ):
                periodic.start()
                stack.push_async_callback(periodic.stop)
            await warming.warm()
            self.engine, self.consumer, self.lease = engine, consumer, lease
            self.api.answers = Answers(
                engine, grammars, views, placement, switching, lease, meter, Salts(), turns, retrieval, ids.new
            )
            self.api.embeddings = Embeddings(embedder, views, meter, turns)
            spent = Spent(tenancy.objects, tenancy.clock)
            self.api.feedback = Feedback(ids, views, turns, self.rated, meter, spent)
            freeze_heap()
            try:
                yield
            finally:
                self.api.answers = self.api.embeddings = self.api.feedback = None

    def _engine(self, config: EngineConfig, meter: UsageMeter) -> SupervisedEngine:
        suspects = Suspects(on_refused=lambda: self.endangering.add(1))
        return SupervisedEngine(
            lambda: Engine(config, meter.stepped), suspects, RESTARTS, on_restarted=lambda: self.restarts.add(1)
        )

    def _turns(self) -> Turns:
        settings = self.settings
        capacity = Capacity.of(settings.max_num_seqs, settings.max_loras, settings.max_model_len)
        return Turns(FairQueue(capacity), settings.max_model_len, on_waited=self.waited.record)

    async def _files(self, tenancy: Tenancy, base_model: Path, root: Path) -> AdapterFiles:
        return AdapterFiles(
            tenancy=tenancy,
            verifier=self.keys.trust,
            root=root,
            base_model_digest=await asyncio.to_thread(model_digest, base_model),
            base_shapes=await asyncio.to_thread(linear_shapes, base_model),
            max_rank=self.settings.max_lora_rank,
        )

    def _placement(self, engine: SupervisedEngine, files: AdapterFiles, audit: LoadAudit, pins: Pins) -> Placement:
        def loaded(tenant: TenantId, adapter: str, seconds: float) -> None:
            self.loads.record(seconds)
            audit.note(tenant, adapter)

        policy = ResidencyPolicy(max_resident=self.settings.max_cpu_loras, idle_seconds=self.settings.idle_seconds)
        return Placement(
            engine=engine,
            files=files,
            residency=Residency(policy, time.monotonic, pins),
            drain_seconds=self.settings.drain_seconds,
            on_loaded=loaded,
        )

    def consumer_of(self, tenancy: Tenancy, ports: AgentPorts) -> Consumer:
        """To be run on the loop that ``tenancy`` is of. Handlers run on the caller's, which ``ports`` are of: records
        are parsed and verified, and outcomes published, where that holds up no stream.
        """
        # One at a time: a removal waits for the engine as a whole, and others would spend their time waiting for it.
        lanes = replace(LANES, side_by_side=1)
        policy = replace(self.settings.handling_policy(), lanes=lanes, fetch_wait_ms=FETCH_WAIT_MS)
        dispatcher = Dispatcher(
            SERVICE,
            handled_on(asyncio.get_running_loop(), HANDLERS),
            tenancy,
            ports,
            self.telemetry,
            policy,
            replica=self.settings.replica_id,
            signatures=self.signatures,
        )
        return Consumer(
            dispatcher,
            (events.ADAPTERS, events.TENANTS),
            dispatcher.reader,
            self.settings,
        )

    def health(self) -> Starlette:
        """The platform's routes, which have a port of their own."""
        return health_app(self.telemetry, self.is_alive, self.is_ready)


def main() -> None:
    settings = loaded_or_exit(InferenceSettings)
    configure_logging(SERVICE)
    telemetry = configure_telemetry(SERVICE, settings.otlp_endpoint)
    try:
        with refusal_exits():
            replica = Replica(settings, telemetry)
        run_server(
            replica.api.build,
            replica.running,
            host=settings.inference_host,
            port=settings.inference_port,
            graceful_seconds=int(settings.drain_seconds) + 5,
            connections=settings.max_connections,
            beside=Beside(replica.health(), settings.health_host, settings.health_port),
            on_ending=replica.ends,
            uvloop=True,
        )
    finally:
        telemetry.flush()
