"""The API's process of a replica of ours, or vLLM's own server.

    python -m tests.bench.streaming_server ours|with-bus|vllm|stock BASE_MODEL PORT FOLDER [ADAPTER]

With the folder of an adapter it has a real engine; without one an engine that computes nothing, so that what is
measured is the process itself. On a CPU ``vllm`` applies the adapter as a replica does, and ``stock`` as vLLM does.
``with-bus`` is ours with the replica's agent, on the bus that ``SANO_KAFKA_BOOTSTRAP_SERVERS`` names.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from deploy.local.ports import LOOPBACK
from inference.adapters.adapter_files import FetchedAdapter
from inference.adapters.pins import Pins
from inference.adapters.placement import Placement
from inference.engine.config import EngineConfig, prepare_environment, serving_arguments
from inference.engine.engine import Engine
from inference.replica.agent import AgentPorts
from inference.settings import InferenceSettings
from inference.tenants.admission import TenantRequests
from inference.wiring import Replica, freeze_heap
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import ROOT_PUBLIC_FILE, TRUST_FILE, key_file
from schemas.models.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from tenancy.bootstrap import Tenancy, assemble, event_signer
from tenancy.kafka_publisher import KafkaPublisher
from tenancy.service.background_server import run_server
from tenancy.service.loops import entered_on, own_loop
from tenancy.service.telemetry import configure_telemetry
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.tenant_id import TenantId
from tests.bench import paced_core
from tests.fixtures.verified import verified
from tests.unit.api.replica import Bench

OURS, WITH_BUS, PEER, STOCK = "ours", "with-bus", "vllm", "stock"
"""Here, since vLLM's processes import this module anew, and fail where it imports a web framework's proxies."""
AT_ONCE = 64
CONTEXT = 2048


class _Files:
    """The files of the one adapter, or some that nobody reads."""

    def __init__(self, root: Path, adapter: Path | None) -> None:
        self._root = root
        self._adapter = adapter

    async def fetch(self, tenant: TenantId, digest: str) -> FetchedAdapter:
        folder = self._root / digest
        folder.mkdir(exist_ok=True)
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            if self._adapter is None:
                (folder / name).touch()
            else:
                shutil.copy(self._adapter / name, folder / name)
        return FetchedAdapter(folder, verified)

    def remove(self, digest: str) -> bool:
        return True


def config_of(base_model: Path) -> EngineConfig:
    return EngineConfig(
        base_model=base_model, max_model_len=CONTEXT, max_num_seqs=AT_ONCE, kv_cache_gib=1.0, log_level="ERROR"
    )


async def enter_bus(stack: AsyncExitStack, bench: Bench, placement: Placement, folder: Path) -> None:
    """The replica's publisher and its agent's consumer, as :mod:`inference.wiring` makes them."""
    from tests.bench.stand import KeyFiles  # it imports a web framework's proxies

    keys = KeyFiles.made(folder)
    settings = InferenceSettings(
        s3_bucket="none",
        base_model="none",
        replica_id="replica-0",
        trust_file=folder / TRUST_FILE,
        trust_root_file=folder / ROOT_PUBLIC_FILE,
        receipt_key=str(key_file(folder, Purpose.RECEIPT, "inference")),
        event_key=str(key_file(folder, Purpose.EVENT, "inference")),
    )
    replica = Replica(settings, configure_telemetry("inference", None))
    reading = await stack.enter_async_context(own_loop("bus"))

    def publisher() -> KafkaPublisher:
        return KafkaPublisher(settings.kafka_client(), event_signer(settings))

    def tenancy(publishing: KafkaPublisher) -> Tenancy:
        return assemble(bench.objects, KeyFileMasterKey.read(keys.master), publishing, "/bench")

    own = tenancy(await stack.enter_async_context(publisher()))
    bus = tenancy(await stack.enter_async_context(entered_on(reading, publisher())))
    receipts = replica.keys.signer(Purpose.RECEIPT)
    ports = AgentPorts(own, receipts, bench.views, placement, bench.lease, bench.indexes, Pins(0))
    await stack.enter_async_context(entered_on(reading, replica.consumer_of(bus, ports).running()))


def serve_ours(base_model: Path, port: int, folder: Path, adapter: Path | None, *, has_bus: bool) -> None:
    engine = Engine(config_of(base_model))
    bench = Bench()
    placement = Placement(engine, _Files(folder, adapter), bench.residency, 0.0)
    bench.api.running = TenantRequests(AT_ONCE)
    bench.views.ttl_seconds = InferenceSettings.model_fields["state_ttl_seconds"].default
    bench.api.answers = None  # until the engine runs, as in a replica

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        await engine.start()
        await bench.start()
        bench.answering(engine, bench.grammars, placement)
        stack = AsyncExitStack()
        if has_bus:
            await enter_bus(stack, bench, placement, folder)
        freeze_heap()  # as vLLM's server does
        try:
            yield
        finally:
            await stack.aclose()
            await engine.close()

    run_server(bench.api.build, running, host=LOOPBACK, port=port, graceful_seconds=5, connections=1024, uvloop=True)


def serve_vllm(base_model: Path, port: int, adapter: Path | None, *, is_stock: bool) -> None:
    import uvloop

    arguments = serving_arguments(config_of(base_model))
    if adapter is not None:
        from vllm.entrypoints.openai.models.protocol import LoRAModulePath

        arguments.lora_modules = [LoRAModulePath(name="active", path=str(adapter))]
        if not is_stock:
            arguments.worker_extension_cls = "tests.bench.own_operations.OwnOperations"
    from vllm.entrypoints.launchers.api_server.entry import run_server

    arguments.host, arguments.port = LOOPBACK, port
    arguments.disable_uvicorn_access_log, arguments.uvicorn_log_level = True, "error"
    uvloop.run(run_server(arguments))


def main() -> None:
    side, base_model, port, folder, *more = sys.argv[1:]
    adapter = Path(more[0]) if more else None
    prepare_environment(config_of(Path(base_model)))
    if adapter is None:
        paced_core.install()
    if side in (OURS, WITH_BUS):
        serve_ours(Path(base_model), int(port), Path(folder), adapter, has_bus=side == WITH_BUS)
    else:
        serve_vllm(Path(base_model), int(port), adapter, is_stock=side == STOCK)


if __name__ == "__main__":
    main()
