"""vLLM's own server with a replica's settings of the engine, which loads adapters when it is told to.

    SANO_BASE_MODEL=FOLDER … python -m tests.bench.plain_server PORT

On a CPU it applies adapters as a replica does. vLLM's processes import this module anew, so nothing may start outside
``main``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deploy.local.ports import LOOPBACK
from inference.engine.config import prepare_environment, serving_arguments
from inference.settings import InferenceSettings
from inference.wiring import engine_config


def main() -> None:
    (port,) = sys.argv[1:]
    settings = InferenceSettings()
    config = engine_config(settings, Path(settings.base_model))
    prepare_environment(config)
    os.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"

    import uvloop
    from vllm.entrypoints.launchers.api_server.entry import run_server

    arguments = serving_arguments(config)
    arguments.worker_extension_cls = "tests.bench.own_operations.OwnOperations"
    arguments.host, arguments.port = LOOPBACK, int(port)
    arguments.disable_uvicorn_access_log, arguments.uvicorn_log_level = True, "error"
    uvloop.run(run_server(arguments))


if __name__ == "__main__":
    main()
