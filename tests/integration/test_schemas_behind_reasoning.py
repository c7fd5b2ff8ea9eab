"""Where a base model reasons, a schema holds for what comes behind the reasoning: vLLM's masks, set up as ours are.

The masks are asked directly: so small a model as the tests' ends no reasoning by itself.
"""

from __future__ import annotations

from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.engine.config import EngineConfig, prepare_environment, serving_arguments

pytestmark = [pytest.mark.engine]

SCHEMA = {"type": "object", "properties": {"mg": {"type": "integer"}}, "required": ["mg"]}


@pytest.mark.parametrize(
    ("parser", "prompt", "thought", "bound"),
    [
        (None, "How much?", [], [True]),
        ("olmo3", "How much?", ["Let me think.", "</think>", '{"mg":'], [False, False, True, True]),
        ("olmo3", "How much? <think>\n</think>", [], [True]),
    ],
    ids=["no reasoning", "reasoning of the answer", "reasoning closed by the template"],
)
def test_a_schema_binds_what_comes_behind_the_reasoning(
    tiny_base: Path, parser: str | None, prompt: str, thought: list[str], bound: list[bool]
) -> None:
    masks = _Masks(tiny_base, parser, prompt)
    held = [masks.bind()]
    for words in thought:
        masks.say(words)
        held.append(masks.bind())
    assert held == bound


class _Masks:
    """One request with a schema, and which tokens vLLM's scheduler would let its next one be."""

    def __init__(self, base_model: Path, parser: str | None, prompt: str) -> None:
        own = EngineConfig(base_model=base_model, kv_cache_gib=0.1, reasoning_parser=parser)
        prepare_environment(own)
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.sampling_params import SamplingParams, StructuredOutputsParams
        from vllm.v1.request import Request
        from vllm.v1.structured_output import StructuredOutputManager

        config = AsyncEngineArgs.from_cli_args(serving_arguments(own)).create_engine_config()
        self._manager = StructuredOutputManager(config)
        self._tokenizer: Any = self._manager.tokenizer
        schema = StructuredOutputsParams(json=SCHEMA)
        schema._backend = "xgrammar"
        sampling = SamplingParams(max_tokens=64, structured_outputs=schema)
        self._request = Request("asked", self._tokens(prompt), sampling, None)
        self._manager.grammar_init(self._request)
        asked = self._request.structured_output_request
        assert asked is not None
        wait([asked._grammar], timeout=60)

    def say(self, words: str) -> None:
        """The model says ``words``."""
        for token in self._tokens(words):
            self._request.append_output_token_ids(token)
            assert self._manager.accept_tokens(self._request, [token])

    def bind(self) -> bool:
        """Whether the next token is bound by the schema."""
        mask = self._manager.grammar_bitmask({"asked": self._request}, ["asked"], {})
        assert mask is not None
        return not bool(np.all(mask == -1))

    def _tokens(self, words: str) -> list[int]:
        return list(self._tokenizer.encode(words, add_special_tokens=False))
