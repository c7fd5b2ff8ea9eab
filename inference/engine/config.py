"""Configures the engine's start. The only place that sets environment variables for vLLM."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from schemas.models.adapter_files import linear_shapes
from tenancy.platform.compute_threads import THREADS

# Read by vLLM from the environment only, most of them once, at import.
_ENVIRONMENT = {
    # Worker processes are spawned: forking a process that has threads and sockets deadlocks.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # Nothing leaves this machine: no usage report, and an adapter path that is not a directory here is an error
    # instead of the name of a hub repository to download.
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    # Entry points of whatever else is installed are not loaded: among them LoRA resolvers and logits processors.
    "VLLM_PLUGINS": "",
    # A name that is not registered is refused. With runtime updating a resolver would be asked for it; without name
    # validation the base model would answer.
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0",
    "VLLM_SKIP_MODEL_NAME_VALIDATION": "0",
    # collective_rpc takes method names of our worker extension, never pickled functions.
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "0",
    "VLLM_SERVER_DEV_MODE": "0",
    # vLLM names its processes with setproctitle, which writes over their environment: by that a stack finds those that
    # a killed server left behind.
    "SPT_NOENV": "1",
}


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How one replica's engine is built. A value: nothing here is read from the environment. ``InferenceSettings`` says
    within which bounds each number is.

    ``base_model`` is a local directory. ``max_loras`` adapters can be in one batch, each slot preallocated at
    ``max_lora_rank``; ``max_cpu_loras`` adapters can be loaded. ``kv_cache_gib`` is the key-value cache's size in GiB
    and must be given on CPU; on a GPU ``None`` leaves it to vLLM, which then fills
    ``gpu_memory_utilization`` of the GPU's memory with weights, slots and cache (``None``: vLLM's choice).
    ``block_size`` is in tokens: only whole blocks are shared by prefix (``None``: vLLM's choice, 128 on CPU and 16 on
    a GPU). ``answer_seconds``: an engine that leaves a call unanswered for this long has stopped.
    ``tool_call_parser`` and ``reasoning_parser`` are vLLM's names for how the base model writes calls of tools and its
    reasoning; ``None``: it has no reasoning of which the end can be seen.
    """

    base_model: Path
    served_name: str = "base"
    max_loras: int = 8
    max_cpu_loras: int = 32
    max_lora_rank: int = 64
    max_model_len: int = 2048
    max_num_seqs: int = 16
    kv_cache_gib: float | None = None
    gpu_memory_utilization: float | None = None
    block_size: int | None = None
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "bfloat16"
    seed: int = 0
    answer_seconds: float = 300.0
    tool_call_parser: str = "hermes"
    reasoning_parser: str | None = None
    worker_extension: str = "inference.engine.worker_extension.AdapterIsolation"
    log_level: Literal["INFO", "WARNING", "ERROR"] = "WARNING"  # DEBUG would print refused requests' contents

    def __post_init__(self) -> None:
        if not self.base_model.is_dir():
            raise ValueError(f"base_model {self.base_model} is not a directory; download the model first")
        if self.max_loras > self.max_cpu_loras:
            raise ValueError("max_loras must be at most max_cpu_loras, or vLLM refuses to start")


def prepare_environment(config: EngineConfig) -> None:
    """Set the environment that vLLM and its worker processes read. Call it before anything imports vllm.

    Raises ``RuntimeError`` where vllm was imported under another environment, since it would keep the old values.
    """
    wanted = {**_ENVIRONMENT, "VLLM_LOGGING_LEVEL": config.log_level}
    different = sorted(name for name, value in wanted.items() if os.environ.get(name) != value)
    if different and "vllm" in sys.modules:
        raise RuntimeError(f"vllm was imported before its environment was set ({', '.join(different)})")
    os.environ.update(wanted)
    for name, value in _threads().items():
        os.environ.setdefault(name, value)


def _threads() -> dict[str, str]:
    """How an engine computes on a processor, where nothing else is said: with all cores but one, which the server
    needs.
    """
    return {**THREADS, "OMP_NUM_THREADS": str(max(1, (psutil.cpu_count(logical=False) or 1) - 1))}


def adapted_modules(base_model: Path) -> list[str]:
    """The names, as vLLM's option takes them, of the modules that get slots for adapters: those that a checked adapter
    can change, and no others.
    """
    modules = linear_shapes(base_model)
    # vLLM has one module for all experts of a layer.
    experts = {"experts"} if any(".experts." in module for module in modules) else set()
    return sorted({module.rpartition(".")[2] for module in modules} | experts)


def serving_arguments(config: EngineConfig) -> argparse.Namespace:
    """vLLM's own server arguments with our values: the source of both the engine's and the serving classes' settings.

    Starting from vLLM's parser gives every option that we do not name the default that its server has. A name that
    vLLM no longer knows raises ``RuntimeError`` here instead of being ignored.
    """
    from vllm.config import StructuredOutputsConfig
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    arguments: argparse.Namespace = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    values: dict[str, Any] = {
        "model": str(config.base_model),
        "served_model_name": [config.served_name],
        "dtype": config.dtype,
        "seed": config.seed,
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.max_num_seqs,
        "block_size": config.block_size,
        "kv_cache_memory_bytes": None if config.kv_cache_gib is None else int(config.kv_cache_gib * 2**30),
        "enable_lora": True,
        "max_loras": config.max_loras,
        "max_cpu_loras": config.max_cpu_loras,
        "max_lora_rank": config.max_lora_rank,
        # Not the layers of the vocabulary, which vLLM would give slots for adapters too.
        "lora_target_modules": adapted_modules(config.base_model),
        # Blocks are shared only under the same salt, adapter and tokens; sha256, since a collision would cross tenants.
        "enable_prefix_caching": True,
        "prefix_caching_hash_algo": "sha256",
        # One engine on one device: what overwrites slots and base rows is tested with one worker only.
        "tensor_parallel_size": 1,
        "data_parallel_size": 1,
        # It computes in the process that schedules, as vLLM does by itself on one GPU. On a processor vLLM would start
        # a worker for it, and hand prompts to it through files in shared memory.
        "distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor",
        "worker_extension_cls": config.worker_extension,
        # What waits there is what the fair queue gave it, with the order that this wants.
        "scheduling_policy": "priority",
        "scheduler_cls": "inference.engine.scheduler.forgetting_scheduler",
        # One compiler, in which every grammar was tried out. White space without end would be an answer without end.
        "structured_outputs_config": StructuredOutputsConfig(
            backend="xgrammar",
            disable_any_whitespace=True,
            reasoning_parser=config.reasoning_parser or "",  # vLLM's serving classes read it here
        ),
        "enable_auto_tool_choice": True,
        "tool_call_parser": config.tool_call_parser,
        # Also for tools that do not ask for it: arguments of another shape are of no use to anybody.
        "tool_strict_level": "parameter",
        "reasoning_parser": config.reasoning_parser or "",
        "trust_remote_code": False,
        "trust_request_chat_template": False,
        "enable_log_requests": False,
        "enable_log_outputs": False,
        # vLLM's metrics carry adapter names as labels, one series for each combination; ours do not.
        "disable_log_stats": True,
        "enable_prompt_tokens_details": True,
        "shutdown_timeout": 0,
    }
    if config.gpu_memory_utilization is not None:
        values["gpu_memory_utilization"] = config.gpu_memory_utilization
    unknown = sorted(name for name in values if not hasattr(arguments, name))
    if unknown:
        raise RuntimeError(f"this vLLM does not know {', '.join(unknown)}; see the pinned range in pyproject.toml")
    vars(arguments).update(values)
    return arguments
