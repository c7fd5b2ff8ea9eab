"""Wiring of a serving replica: engine, routes and agent on one event loop.

vLLM's processes are spawned and import this module anew, so nothing may start outside ``main``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import uvicorn
from fastapi import FastAPI

from consumers.runtime.dispatch import Dispatcher, Handler
from consumers.runtime.periodic import Periodic
from consumers.runtime.service import Consumer, health_routes
from consumers.runtime.telemetry import Telemetry, configure_logging, configure_telemetry
from inference import agent
from inference.agent import AgentPorts
from inference.answers import Answers
from inference.api import Api
from inference.binding import Salts, TenantViews
from inference.engine import Engine
from inference.engine_config import EngineConfig
from inference.fetching import AdapterFiles
from inference.lease import ReplicaLease
from inference.load_audit import AUDIT_SECONDS, LoadAudit
from inference.placement import Placement
from inference.residency import Residency, ResidencyPolicy
from inference.settings import InferenceSettings
from inference.usage import UsageMeter, UsageReporter
from schemas import events
from schemas.adapter_files import linear_shapes
from schemas.model_digest import HUB_PATTERNS, model_digest
from tenancy.bootstrap import Tenancy, open_tenancy, signer
from tenancy.tenant_id import TenantId
from tenancy.tokens import TokenVerifier

SERVICE = "inference"

HANDLERS: Mapping[type[events.EventData], Handler] = {
    events.AdapterActivated: agent.on_adapter_activated,
    events.AdapterRolledBack: agent.on_adapter_activated,
    events.AdapterRetired: agent.on_adapter_retired,
    events.PurgeFenced: agent.on_purge_fenced,
}


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
    )


class Replica:
    """Everything that a running replica is made of."""

    def __init__(self, settings: InferenceSettings, telemetry: Telemetry) -> None:
        self.settings = settings
        self.telemetry = telemetry
        self.signer = signer(settings)
        self.base_model = base_model_directory(settings)
        self.engine = Engine(engine_config(settings, self.base_model))
        requests = telemetry.meter.create_counter("sano_requests", description="answered requests by route")
        self.loads = telemetry.meter.create_histogram(
            "sano_adapter_load_seconds", unit="s", description="from the object store into the engine"
        )
        self.unaudited = telemetry.meter.create_counter(
            "sano_unaudited_loads", description="loads of adapters that the audit log does not know"
        )
        self.api = Api(TokenVerifier(self.signer.verifier), requests)
        self.consumer: Consumer | None = None
        self.lease: ReplicaLease | None = None

    def is_alive(self) -> bool:
        """Also false for a replica that a purge cut off: only a new start leaves nothing of what it held."""
        if self.lease is not None and self.lease.is_fenced:
            return False
        starting = self.consumer is None
        return starting or (self.engine.is_healthy() and self.consumer is not None and self.consumer.is_alive())

    async def is_ready(self) -> bool:
        if self.consumer is None or self.lease is None or not self.engine.is_healthy():
            return False
        return self.lease.is_held() and await self.consumer.is_ready()

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Start in the order that never serves what a purge has fenced; stop in the reverse order."""
        settings = self.settings
        async with AsyncExitStack() as stack:
            tenancy = await stack.enter_async_context(open_tenancy(settings, SERVICE))
            digest = model_digest(self.base_model)
            files = AdapterFiles(
                tenancy=tenancy,
                verifier=self.signer.verifier,
                root=settings.adapter_dir / settings.replica_id,
                base_model_digest=digest,
                base_shapes=linear_shapes(self.base_model),
                max_rank=settings.max_lora_rank,
            )
            files.clear()
            await self.engine.start()
            stack.push_async_callback(self.engine.close)
            audit = LoadAudit(tenancy, settings.replica_id, lambda: self.unaudited.add(1))
            stack.push_async_callback(audit.enter)

            def loaded(tenant: TenantId, adapter: str, seconds: float) -> None:
                self.loads.record(seconds)
                audit.note(tenant, adapter)

            placement = Placement(
                engine=self.engine,
                files=files,
                residency=Residency(
                    ResidencyPolicy(max_resident=settings.max_cpu_loras, idle_seconds=settings.idle_seconds),
                    time.monotonic,
                ),
                drain_seconds=settings.drain_seconds,
                on_loaded=loaded,
            )
            views = TenantViews(tenancy, settings.state_ttl_seconds)
            meter = UsageMeter()
            reporter = UsageReporter(meter, tenancy)
            stack.push_async_callback(reporter.report)
            lease = ReplicaLease(tenancy, settings.replica_id, digest, settings.replica_lease_seconds, tenancy.clock())
            await lease.register()
            ports = AgentPorts(tenancy, self.signer, views, placement, settings.replica_id)
            await self._consume(stack, tenancy, ports)
            for periodic in (
                Periodic("replica lease", settings.replica_lease_seconds / 3, lease.renew),
                Periodic("idle adapters", min(settings.idle_seconds, 30.0), placement.unload_idle),
                Periodic("usage", settings.usage_seconds, reporter.report),
                Periodic("audit of loads", AUDIT_SECONDS, audit.enter),
            ):
                periodic.start()
                stack.push_async_callback(periodic.stop)
            self.lease = lease
            self.api.answers = Answers(self.engine, views, placement, lease, meter, Salts())
            yield
            self.api.answers = None

    async def _consume(self, stack: AsyncExitStack, tenancy: Tenancy, ports: AgentPorts) -> None:
        policy = self.settings.handling_policy()
        dispatcher = Dispatcher(
            SERVICE, HANDLERS, tenancy, ports, self.telemetry, policy, replica=self.settings.replica_id
        )
        consumer = Consumer(
            dispatcher,
            (events.ADAPTERS, events.TENANTS),
            dispatcher.reader,
            self.settings,
        )
        await consumer.broker.start()
        stack.push_async_callback(consumer.broker.stop)
        self.consumer = consumer


def main() -> None:
    settings = InferenceSettings()
    configure_logging(SERVICE)
    telemetry = configure_telemetry(SERVICE, settings.otlp_endpoint)
    replica = Replica(settings, telemetry)
    app = replica.api.build(replica.running)
    app.router.routes.extend(health_routes(telemetry, replica.is_alive, replica.is_ready))
    config = uvicorn.Config(
        app,
        host=settings.inference_host,
        port=settings.inference_port,
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=int(settings.drain_seconds) + 5,
    )
    anyio.run(uvicorn.Server(config).serve)
    if replica.lease is None:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
