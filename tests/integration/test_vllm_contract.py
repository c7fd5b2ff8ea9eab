"""Every internal of vLLM that inference/ uses, by name and shape, so that an upgrade fails here and says where.

No engine is started. A failure means: read what changed in vLLM, change the part of inference/ that uses it, run
test_engine.py, and only then widen the range in pyproject.toml.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference.engine.config import EngineConfig, prepare_environment, serving_arguments

pytestmark = pytest.mark.engine


@pytest.fixture(autouse=True)
def config(tmp_path: Path) -> EngineConfig:
    config = EngineConfig(base_model=tmp_path, kv_cache_gib=0.5)
    prepare_environment(config)
    return config


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_engine_client_has_the_calls_that_load_abort_and_evict() -> None:
    from vllm.v1.engine.async_llm import AsyncLLM

    assert parameters(AsyncLLM.add_lora) == ["self", "lora_request"]
    assert parameters(AsyncLLM.remove_lora) == ["self", "lora_id"]
    assert parameters(AsyncLLM.list_loras) == ["self"]
    assert parameters(AsyncLLM.abort)[:3] == ["self", "request_id", "internal"]
    assert parameters(AsyncLLM.reset_prefix_cache) == ["self", "reset_running_requests", "reset_connector"]
    assert inspect.signature(AsyncLLM.reset_prefix_cache).parameters["reset_running_requests"].default is False
    assert parameters(AsyncLLM.collective_rpc) == ["self", "method", "timeout", "args", "kwargs"]
    assert "engine_args" in parameters(AsyncLLM.from_engine_args)
    assert isinstance(inspect.getattr_static(AsyncLLM, "errored"), property)
    assert not inspect.iscoroutinefunction(AsyncLLM.shutdown)


def test_the_outputs_of_a_step_say_which_request_had_how_many_tokens() -> None:
    from vllm.v1.engine import EngineCoreOutput
    from vllm.v1.engine.output_processor import OutputProcessor
    from vllm.v1.metrics.stats import PrefillStats

    assert parameters(OutputProcessor.process_outputs)[:3] == ["self", "engine_core_outputs", "engine_core_timestamp"]
    assert {"request_id", "new_token_ids", "prefill_stats"} <= set(EngineCoreOutput.__struct_fields__)
    assert {"num_computed_tokens", "num_cached_tokens"} <= set(vars(PrefillStats())), "of a request's first tokens"


def test_the_serving_classes_take_a_request_without_an_http_request() -> None:
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
    from vllm.entrypoints.openai.completion.serving import OpenAIServingCompletion

    assert parameters(init_app_state) == ["engine_client", "state", "args", "supported_tasks"]
    for create in (OpenAIServingChat.create_chat_completion, OpenAIServingCompletion.create_completion):
        signature = inspect.signature(create)
        assert list(signature.parameters) == ["self", "request", "raw_request"]
        assert signature.parameters["raw_request"].default is None


def test_sequences_are_known_to_the_engine_by_the_ids_that_an_abort_names() -> None:
    from vllm.entrypoints.openai.chat_completion import serving as chat
    from vllm.entrypoints.openai.completion import serving as completion

    assert 'f"chatcmpl-{self._base_request_id(raw_request, request.request_id)}"' in inspect.getsource(chat)
    source = inspect.getsource(completion)
    assert 'f"cmpl-{self._base_request_id(raw_request, request.request_id)}"' in source
    assert 'request_id_item = f"{request_id}-{i}"' in source


def test_a_name_selects_an_adapter_only_through_the_registry_that_we_fill() -> None:
    from vllm.entrypoints.openai.models.serving import OpenAIServingModels
    from vllm.entrypoints.serve.engine.serving import BaseServing

    assert "self.lora_requests: dict[str, LoRARequest] = {}" in inspect.getsource(OpenAIServingModels.__init__)
    assert "return self.models.lora_requests[request.model]" in inspect.getsource(BaseServing._maybe_get_adapters)


def test_no_allowed_request_makes_vllm_compute_logits_of_its_prompt() -> None:
    """Its map of adapters has a row for each sequence and none for the tokens of a prompt."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest

    from inference.engine import request_fields

    values: dict[str, Any] = {
        **dict.fromkeys(("logprobs", "top_logprobs", "n", "min_tokens", "seed", "top_k"), 1),
        **dict.fromkeys(("echo", "ignore_eos"), True),
        **dict.fromkeys(("frequency_penalty", "min_p", "presence_penalty", "temperature", "top_p"), 0.5),
        "repetition_penalty": 1.5,
        "logit_bias": {"1": 1},
        "max_completion_tokens": 2,
        "max_tokens": 2,
        "stop": "x",
        "stop_token_ids": [1],
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "x"}],
        "prompt": "x",
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
    }
    beside_a_grammar = {"ignore_eos", "min_tokens", "stop_token_ids", "structured_outputs"}
    server: dict[str, Any] = {"model": "base", "cache_salt": "5a17", "request_id": "r1"}
    given = {name: values[name] for name in request_fields._CHAT.keys() - beside_a_grammar}
    given |= {"logprobs": True}
    params = ChatCompletionRequest(**request_fields.chat_fields(given, **server)).to_sampling_params(2, {})
    assert (params.logprobs, params.prompt_logprobs, params.prompt_logprob_token_ids) == (1, None, None)
    for left_out in ("logprobs", "echo"):  # which are refused together
        given = {name: values[name] for name in request_fields._COMPLETION if name != left_out}
        params = CompletionRequest(**request_fields.completion_fields(given, **server)).to_sampling_params(2, {})
        assert (params.prompt_logprobs, params.prompt_logprob_token_ids) == (None, None)
    both = CompletionRequest(prompt="x", echo=True, logprobs=0).to_sampling_params(2, {})
    assert both.prompt_logprobs == 0, "or the refusal is not needed any more"


def test_only_modules_that_a_checked_adapter_can_change_get_slots(tmp_path: Path) -> None:
    from vllm.lora import model_manager
    from vllm.lora.utils import is_in_target_modules

    from inference.engine.config import adapted_modules
    from tests.unit.test_adapter_files import safetensors

    names = (
        *("model.embed_tokens", "lm_head", "model.layers.0.mlp.gate", "model.layers.0.self_attn.q_proj"),
        *("model.layers.0.mlp.up_proj", "model.layers.0.mlp.experts.3.up_proj", "model.layers.61.embed_tokens"),
    )
    weights = safetensors({f"{name}.weight": ("BF16", (2, 2), bytes(8)) for name in names})
    (tmp_path / "model.safetensors").write_bytes(weights)
    modules = adapted_modules(tmp_path)
    assert modules == ["experts", "q_proj", "up_proj"]
    packed = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}
    for name in ("model.layers.0.self_attn.qkv_proj", "model.layers.0.mlp.gate_up_proj", "model.layers.0.mlp.experts"):
        assert is_in_target_modules(name, modules, packed), name
    for name in ("lm_head", "model.embed_tokens", "model.layers.0.mlp.gate"):
        assert not is_in_target_modules(name, modules, packed), name
    source = inspect.getsource(model_manager.LoRAModelManager._create_lora_modules)
    assert "elif not self._match_target_modules(module_name) and not is_classifier_head:" in source
    assert 'if "lm_head" in module_name:' in source, "the only place that makes logits take adapters"


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_map_that_is_not_of_the_rows_that_it_is_given_with_is_refused(rows: int) -> None:
    """vLLM's map of sampled rows, given with the rows of a prompt: one entry of it even fits any number of rows."""
    import torch
    from vllm.lora.ops.torch_ops import lora_ops

    from inference.engine import cpu_lora_patch

    cpu_lora_patch.install()
    a, b = torch.ones(2, 1, 4, 3), torch.ones(2, 1, 3, 4)
    for slots in ([0], [-1], [0, 1], [-1, 0], [0] * 7, [0] * 6 + [-1]):
        if len(slots) == rows:
            continue
        output = torch.zeros(rows, 4)
        with pytest.raises(cpu_lora_patch.MapMismatch):
            lora_ops.bgmv_shrink(torch.ones(rows, 3), a, output, torch.tensor(slots), 1.0)
        assert not output.any()
        with pytest.raises(cpu_lora_patch.MapMismatch):
            lora_ops.bgmv_expand(torch.ones(rows, 4), b, torch.zeros(rows, 3), torch.tensor(slots), True)


def test_the_request_models_have_the_fields_that_the_server_sets() -> None:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest

    from inference.engine import request_fields

    for model, allowed in (
        (ChatCompletionRequest, request_fields._CHAT),
        (CompletionRequest, request_fields._COMPLETION),
    ):
        assert {"model", "cache_salt", "priority", "request_id"} <= model.model_fields.keys()
        assert allowed.keys() <= model.model_fields.keys()


def test_no_allowed_request_exceeds_what_the_workers_raise_at() -> None:
    """A worker that raises over one request ends the engine for every tenant."""
    from vllm import envs
    from vllm.config import ModelConfig
    from vllm.v1.worker.gpu.sample import logit_bias

    from inference.engine import field_checks

    assert logit_bias.MAX_NUM_LOGIT_BIAS_TOKENS >= field_checks.MAX_LOGIT_BIASES
    # Beside the caller's there are the tokenizer's end token and those of the model's generation configuration.
    assert logit_bias.MAX_NUM_STOP_TOKEN_IDS >= field_checks.MAX_STOP_TOKEN_IDS + 32
    assert envs.VLLM_MAX_STOP_STRINGS >= field_checks.MAX_STOPS
    assert ModelConfig.max_logprobs >= field_checks.MAX_LOGPROBS


def test_the_workers_raise_nowhere_else_over_what_a_request_asks_of_sampling() -> None:
    """Each place was read: lists of fields that are not allowed here, and the two limits above."""
    import re

    import vllm.v1.worker.gpu.sample as sample

    raising = {
        path.name: len(re.findall(r"raise ValueError\(\s*f?\"Too many", path.read_text()))
        for path in Path(sample.__path__[0]).glob("*.py")
    }
    assert {name: count for name, count in raising.items() if count} == {
        "bad_words.py": 2,  # bad_words
        "logit_bias.py": 3,  # allowed_token_ids, logit_bias, stop_token_ids
        "logprob.py": 1,  # logprob_token_ids
    }


def test_the_largest_request_that_is_allowed_is_taken_by_the_worker_and_packs(config: EngineConfig) -> None:
    from unittest.mock import MagicMock

    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.v1.serial_utils import MsgpackEncoder
    from vllm.v1.worker.gpu.sample.logit_bias import LogitBiasState

    from inference.engine.field_checks import MAX_INT32, MAX_INT64, MAX_LOGIT_BIASES, MAX_STOP_TOKEN_IDS
    from inference.engine.request_fields import chat_fields

    body = {
        "messages": [{"role": "user", "content": "x"}],
        "logit_bias": {str(token): 1 for token in range(MAX_LOGIT_BIASES)},
        "stop_token_ids": list(range(MAX_STOP_TOKEN_IDS)),
        "min_tokens": 1,
        "top_k": MAX_INT32,
        "seed": MAX_INT64,
    }
    request = ChatCompletionRequest(**chat_fields(body, model="base", cache_salt="5a17", request_id="r1"))
    params = request.to_sampling_params(64, {})
    params.update_from_generation_config({"eos_token_id": list(range(1000, 1032))}, 2000)
    worker = MagicMock(prompt_len_np=[5])
    assert LogitBiasState.add_request(worker, 0, params)
    assert MsgpackEncoder().encode(params)
    params.logit_bias = dict.fromkeys(range(1025), 1.0)
    with pytest.raises(ValueError, match="Too many"):  # or the check above sees nothing
        LogitBiasState.add_request(worker, 0, params)


def test_a_stream_says_at_its_end_what_it_has_taken_and_in_every_event_only_where_that_is_asked_for() -> None:
    from vllm.entrypoints.generate.base.protocol import StreamOptions
    from vllm.entrypoints.serve.utils.api_utils import should_include_usage

    for each in (False, True):
        assert should_include_usage(StreamOptions(include_usage=True, continuous_usage_stats=each), False) == (
            True,
            each,
        )


def test_an_output_of_a_step_names_its_sequence_and_its_tokens_and_once_those_of_its_prompt() -> None:
    from vllm.v1.engine import EngineCoreOutput
    from vllm.v1.metrics.stats import PrefillStats

    output = EngineCoreOutput(request_id="chatcmpl-r1-aa", new_token_ids=[7, 8], prefill_stats=PrefillStats())
    assert output.prefill_stats is not None
    output.prefill_stats.set(num_prompt_tokens=9, num_local_cached_tokens=4, num_external_cached_tokens=0)
    assert (output.request_id, len(output.new_token_ids)) == ("chatcmpl-r1-aa", 2)
    assert output.prefill_stats.num_prompt_tokens == 9


def test_a_lora_request_is_named_and_located_by_these_fields_and_hashed_into_the_prefix_cache() -> None:
    from vllm.lora.request import LoRARequest
    from vllm.v1.core import kv_cache_utils

    request = LoRARequest(lora_name="digest", lora_int_id=7, lora_path="/adapters/digest")
    assert (request.lora_name, request.lora_int_id, request.lora_path) == ("digest", 7, "/adapters/digest")
    assert request.load_inplace is False
    source = inspect.getsource(kv_cache_utils._gen_lora_extra_hash_keys)
    assert "lora_name" in source


def test_the_worker_keeps_adapters_where_the_extension_looks() -> None:
    from vllm.lora.layers.base import BaseLayerWithLoRA
    from vllm.lora.model_manager import LoRAModelManager
    from vllm.lora.worker_manager import WorkerLoRAManager
    from vllm.v1.worker.lora_model_runner_mixin import LoRAModelRunnerMixin

    assert parameters(LoRAModelRunnerMixin.remove_lora) == ["self", "lora_id"]
    assert "self.lora_manager = " in inspect.getsource(LoRAModelRunnerMixin.load_lora_model)
    assert "self._adapter_manager = lora_manager" in inspect.getsource(WorkerLoRAManager.create_lora_manager)
    made = inspect.getsource(LoRAModelManager.__init__)
    for name in ("self.lora_index_to_id: list[int | None]", "self.modules: dict[str, BaseLayerWithLoRA]"):
        assert name in made
    assert "self.punica_wrapper_mapping" in inspect.getsource(LoRAModelManager._init_punica_wrapper)
    assert parameters(LoRAModelManager.list_adapters) == ["self"]
    assert parameters(BaseLayerWithLoRA.reset_lora) == ["self", "index"]


def test_the_slot_layout_is_part_of_what_decides_whether_the_mapping_is_rebuilt() -> None:
    """The fix of vLLM 47724; test_engine.py shows its effect."""
    from vllm.lora.model_manager import LoRAModelManager

    assert "_last_slot_layout" in inspect.getsource(LoRAModelManager.set_adapter_mapping)


def test_every_layer_with_adapters_keeps_them_by_slot_under_the_names_that_are_read_back() -> None:
    import pkgutil

    import vllm.lora.layers as layers

    for module in pkgutil.iter_modules(layers.__path__):
        source = Path(layers.__path__[0], f"{module.name}.py").read_text()
        if "torch.zeros(" in source and "max_loras" in source:
            assert "lora_a_stacked" in source, module.name
            assert "lora_b_stacked" in source, module.name


def test_the_wrapped_operations_exist_and_a_row_without_an_adapter_is_left_alone() -> None:
    import torch
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    from inference.engine import cpu_lora_patch

    cpu_lora_patch.install()
    cpu_lora_patch.install()
    a = torch.full((2, 1, 4, 3), float("inf"))  # [slot, 1, rank, in]
    a[0] = 1.0
    b = torch.ones(2, 1, 3, 4)  # [slot, 1, out, rank]
    x = torch.ones(3, 3)
    slots = torch.tensor([-1, 0, -1])
    for operations in (lora_ops, punica_cpu):
        shrunk = torch.zeros(3, 4)
        operations.bgmv_shrink(x, a, shrunk, slots, 1.0)
        assert shrunk.tolist() == [[0.0] * 4, [3.0] * 4, [0.0] * 4]
        output = torch.full((3, 3), 5.0)
        operations.bgmv_expand(shrunk, b, output, slots, True)
        assert output.tolist() == [[5.0] * 3, [17.0] * 3, [5.0] * 3]
        operations.bgmv_expand_slice(shrunk, b, output, slots, 0, 3, True)
        assert output.tolist() == [[5.0] * 3, [29.0] * 3, [5.0] * 3]
        prefill = torch.zeros(3, 4)
        operations.sgmv_shrink(x, a, prefill, *_prefill(torch), 1.0)
        assert prefill.tolist() == [[0.0] * 4, [0.0] * 4, [3.0] * 4]


@pytest.mark.parametrize("slots", [[1], [0, 0, 0], [2, -1, 0, 2, 1, -1, 0], [-1, -1]])
@pytest.mark.parametrize("adds", [True, False])
def test_each_row_is_multiplied_by_the_matrix_of_its_own_adapter(slots: list[int], adds: bool) -> None:
    import torch

    from inference.engine import cpu_lora_patch

    random = torch.Generator().manual_seed(1)

    def drawn(*shape: int) -> Any:
        return torch.randn(*shape, generator=random)

    a, b = drawn(3, 1, 4, 6), drawn(3, 1, 5, 4)
    x, shrunk, output = drawn(len(slots), 6), drawn(len(slots), 4), drawn(len(slots), 7)
    expected_shrunk, expected = shrunk.clone(), output.clone()
    for row, slot in enumerate(slots):
        if slot >= 0:
            expected_shrunk[row] = 0.5 * (a[slot, 0] @ x[row])
            made = b[slot, 0] @ expected_shrunk[row]
            expected[row, 2:7] = expected[row, 2:7] + made if adds else made
    cpu_lora_patch.bgmv_shrink(x, a, shrunk, torch.tensor(slots), 0.5)
    cpu_lora_patch.bgmv_expand_slice(shrunk, b, output, torch.tensor(slots), 2, 5, adds)
    torch.testing.assert_close(shrunk, expected_shrunk)
    torch.testing.assert_close(output, expected)
    padded = torch.zeros(len(slots), 3)
    cpu_lora_patch.bgmv_expand(shrunk, b, padded, torch.tensor(slots), adds)
    rows = [row for row, slot in enumerate(slots) if slot >= 0]
    for row in rows:
        torch.testing.assert_close(padded[row], (b[slots[row], 0] @ expected_shrunk[row])[:3])


def _prefill(torch: Any) -> tuple[Any, ...]:
    """Metadata of a batch of two tokens without an adapter and one with: see PunicaWrapperBase.prefill_metadata."""
    return torch.tensor([0, 2]), torch.tensor([2, 1]), torch.tensor([-1, 0]), 2, 2, 3


def test_every_server_argument_that_we_set_is_known_and_reaches_the_engine(config: EngineConfig) -> None:
    from vllm import AsyncEngineArgs
    from vllm.utils.import_utils import resolve_obj_by_qualname
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    arguments = serving_arguments(config)
    engine = AsyncEngineArgs.from_cli_args(arguments)
    assert (engine.enable_lora, engine.max_loras, engine.max_cpu_loras) == (True, 8, 32)
    assert engine.lora_target_modules == [], "of a base model without weights"
    assert (engine.enable_prefix_caching, engine.prefix_caching_hash_algo) == (True, "sha256")
    assert engine.kv_cache_memory_bytes == 2**29
    assert (engine.enable_log_requests, engine.disable_log_stats) == (False, True)
    # By the executor's short name vLLM would start a worker process on a processor.
    assert resolve_obj_by_qualname(engine.distributed_executor_backend) is UniProcExecutor
    assert engine.tensor_parallel_size == engine.data_parallel_size == 1
    assert engine.worker_extension_cls == "inference.engine.worker_extension.AdapterIsolation"


def test_the_share_of_a_gpus_memory_is_vllms_own_or_ours(config: EngineConfig) -> None:
    from vllm import AsyncEngineArgs

    def share(asked: float | None) -> float:
        arguments = serving_arguments(replace(config, gpu_memory_utilization=asked))
        return float(AsyncEngineArgs.from_cli_args(arguments).gpu_memory_utilization)

    assert share(None) == AsyncEngineArgs.gpu_memory_utilization == 0.92, "docs/settings.md says so"
    assert share(0.5) == 0.5


def test_the_environment_that_is_set_is_the_one_that_vllm_reads() -> None:
    from vllm import envs

    from inference.engine.config import _ENVIRONMENT

    assert {name for name in _ENVIRONMENT if name.startswith("VLLM_")} <= set(envs.environment_variables)
    assert envs.VLLM_ALLOW_RUNTIME_LORA_UPDATING is False
    assert envs.VLLM_SKIP_MODEL_NAME_VALIDATION is False
    assert envs.VLLM_ALLOW_INSECURE_SERIALIZATION is False
    assert envs.VLLM_WORKER_MULTIPROC_METHOD == "spawn"
