"""The API's process of a replica of ours, or vLLM's own server, on an engine that computes nothing.

    python -m tests.bench.streaming_server ours|vllm BASE_MODEL PORT FOLDER

It is what ``tests.bench.streaming_cpu`` asks and whose processor time it reads.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.local.ports import LOOPBACK
from inference.adapters.placement import Placement
from inference.engine.config import EngineConfig, prepare_environment, serving_arguments
from inference.engine.engine import Engine
from inference.tenants.admission import TenantRequests
from tenancy.service.background_server import run_server
from tenancy.tenant_id import TenantId
from tests.bench import paced_core
from tests.unit.api.replica import Bench

AT_ONCE = 64
CONTEXT = 2048


class _Files:
    """Files of adapters that nobody reads."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def fetch(self, tenant: TenantId, digest: str) -> Path:
        folder = self._root / digest
        folder.mkdir(exist_ok=True)
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            (folder / name).touch()
        return folder

    def remove(self, digest: str) -> bool:
        return True


def config_of(base_model: Path) -> EngineConfig:
    return EngineConfig(
        base_model=base_model, max_model_len=CONTEXT, max_num_seqs=AT_ONCE, kv_cache_gib=1.0, log_level="ERROR"
    )


def serve_ours(base_model: Path, port: int, folder: Path) -> None:
    paced_core.install()
    engine = Engine(config_of(base_model))
    bench = Bench()
    placement = Placement(engine, _Files(folder), bench.residency, 0.0)
    bench.api.running = TenantRequests(AT_ONCE)
    bench.api.answers = None  # until the engine runs, as in a replica

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        await engine.start()
        await bench.start()
        bench.answering(engine, bench.grammars, placement)
        gc.collect()  # as a replica does, and vLLM's server: or each collection walks vLLM's and torch's objects
        gc.freeze()
        try:
            yield
        finally:
            await engine.close()

    run_server(bench.api.build, running, host=LOOPBACK, port=port, graceful_seconds=5, connections=1024, uvloop=True)


def serve_vllm(base_model: Path, port: int) -> None:
    import uvloop

    arguments = serving_arguments(config_of(base_model))
    paced_core.install()
    from vllm.entrypoints.launchers.api_server.entry import run_server

    arguments.host, arguments.port = LOOPBACK, port
    arguments.disable_uvicorn_access_log, arguments.uvicorn_log_level = True, "error"
    uvloop.run(run_server(arguments))


def main() -> None:
    side, base_model, port, folder = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    prepare_environment(config_of(base_model))
    if side == "ours":
        serve_ours(base_model, port, folder)
    else:
        serve_vllm(base_model, port)


if __name__ == "__main__":
    main()
