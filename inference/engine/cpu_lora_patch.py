"""Patches vLLM's CPU backend, which would apply an adapter to requests that use none.

vLLM marks a token without adapter with the slot index -1. Its GPU kernels skip such tokens. The PyTorch operations
that it uses on CPU take the index at its word: ``weights[-1]`` is the last slot, so in a batch with any
adapter, a request to the base model is computed with the adapter that holds the last slot, or with what a removed one
has left there. Present in vLLM 0.32; the fixes (pull requests 48421 and 49656) are open. Until one is in the pinned
range, the operations are wrapped in every worker to see only the rows that have an adapter.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

_OPERATIONS = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice")  # the sgmv_ forms call these


class MapMismatch(RuntimeError):
    """The map of slots is of other rows. Ends the engine, rather than that a row gets the adapter of another.

    vLLM does that where it computes logits for the rows of a prompt, with the map of the sampled rows (vLLM 16668,
    29955, 51594). It cannot happen here: no layer of the vocabulary takes adapters, which the worker checks when it
    starts, and no request makes vLLM compute logits of a prompt.
    """

    def __init__(self, slots: int, inputs: int, output: int) -> None:
        super().__init__(f"a map of {slots} row(s) was given for {inputs} row(s) of input and {output} of output")


def leave_base_rows_alone(operation: Callable[..., None]) -> Callable[..., None]:
    """``operation`` for the rows whose slot index is not negative. The other rows of ``output`` keep their values.

    Rows are left out rather than multiplied by zero: an adapter with an infinite weight would make that a NaN. Raises
    :class:`MapMismatch` where the slots are not one for each row.
    """

    @functools.wraps(operation)
    def on_adapter_rows(inputs: Any, weights: Any, output: Any, slots: Any, *args: Any, **kwargs: Any) -> None:
        if not len(slots) == len(inputs) == len(output):
            raise MapMismatch(len(slots), len(inputs), len(output))
        has_adapter = slots >= 0
        if bool(has_adapter.all()):
            operation(inputs, weights, output, slots, *args, **kwargs)
        elif bool(has_adapter.any()):
            rows = has_adapter.nonzero().squeeze(1)
            part = output[rows]
            operation(inputs[rows], weights, part, slots[rows], *args, **kwargs)
            output[rows] = part

    return on_adapter_rows


def install() -> None:
    """Wrap vLLM's PyTorch LoRA operations in this process, wherever they are called by name. Idempotent."""
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    for name in _OPERATIONS:
        if not hasattr(getattr(lora_ops, name), "__wrapped__"):
            wrapped = leave_base_rows_alone(getattr(lora_ops, name))
            setattr(lora_ops, name, wrapped)
            setattr(punica_cpu, name, wrapped)
