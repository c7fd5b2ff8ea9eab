"""Replaces the operations by which vLLM's CPU backend applies adapters: they are wrong for base requests, and slow.

vLLM marks a token without adapter with the slot index -1. Its GPU kernels skip such tokens. The PyTorch operations
that it uses on CPU take the index at its word: ``weights[-1]`` is the last slot, so in a batch with any
adapter, a request to the base model is computed with the adapter that holds the last slot, or with what a removed one
has left there. Present in vLLM 0.32; the fixes (pull requests 48421 and 49656) are open. And they copy the adapter's
matrix once for each token: a prompt of 1,300 tokens takes 270 ms for what one product takes 2 ms for.

These multiply the rows of each adapter by its matrix, in the same types, and leave all others alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any


class MapMismatch(RuntimeError):
    """The map of slots is of other rows. Ends the engine, rather than that a row gets the adapter of another.

    vLLM does that where it computes logits for the rows of a prompt, with the map of the sampled rows (vLLM 16668,
    29955, 51594). It cannot happen here: no layer of the vocabulary takes adapters, which the worker checks when it
    starts, and no request makes vLLM compute logits of a prompt.
    """

    def __init__(self, slots: int, inputs: int, output: int) -> None:
        super().__init__(f"a map of {slots} row(s) was given for {inputs} row(s) of input and {output} of output")


def bgmv_shrink(
    inputs: Any, lora_b_weights: Any, output_tensor: Any, lora_indices_tensor: Any, scaling: float = 1.0
) -> None:
    """``output[row, :rank] = scaling * weights[slot of row] @ inputs[row]``; weights are [slot, 1, rank, in]."""
    for rows, product in _products(inputs, lora_b_weights, output_tensor, lora_indices_tensor):
        output_tensor[rows, : product.shape[1]] = scaling * product


def bgmv_expand(
    inputs: Any, lora_b_weights: Any, output_tensor: Any, lora_indices_tensor: Any, add_inputs: bool = True
) -> None:
    """``output[row] += weights[slot of row] @ inputs[row]``; weights are [slot, 1, out, rank]. One of the two may be
    padded.
    """
    size = min(lora_b_weights.shape[-2], output_tensor.shape[1])
    bgmv_expand_slice(inputs, lora_b_weights, output_tensor, lora_indices_tensor, 0, size, add_inputs)


def bgmv_expand_slice(
    inputs: Any,
    lora_b_weights: Any,
    output_tensor: Any,
    lora_indices_tensor: Any,
    slice_offset: int,
    slice_size: int,
    add_inputs: bool = True,
) -> None:
    """As :func:`bgmv_expand`, for ``slice_size`` columns of the output from ``slice_offset`` on."""
    columns = slice(slice_offset, slice_offset + slice_size)
    for rows, product in _products(inputs, lora_b_weights, output_tensor, lora_indices_tensor):
        if add_inputs:
            output_tensor[rows, columns] += product[:, :slice_size]
        else:
            output_tensor[rows, columns] = product[:, :slice_size]


def _products(inputs: Any, weights: Any, output: Any, slots: Any) -> Iterator[tuple[Any, Any]]:
    """The rows of each adapter, and their product with its matrix in the type of the output.

    Rows without adapter are left out rather than multiplied by zero: an adapter with an infinite weight would make that
    a NaN. Raises :class:`MapMismatch` where the slots are not one for each row.
    """
    if not len(slots) == len(inputs) == len(output):
        raise MapMismatch(len(slots), len(inputs), len(output))
    of_rows = slots.tolist()
    present = set(of_rows)
    inputs = inputs.to(output.dtype)
    for slot in present:
        if slot < 0:
            continue
        rows = slice(None) if len(present) == 1 else [row for row, held in enumerate(of_rows) if held == slot]
        matrix = weights[slot].view(weights.shape[-2:]).to(output.dtype)
        yield rows, inputs[rows] @ matrix.T


_OPERATIONS = (bgmv_shrink, bgmv_expand, bgmv_expand_slice)
"""The sgmv_ forms call these by name."""


def install() -> None:
    """Put these in the place of vLLM's in this process, wherever they are called by name. Idempotent.

    Raises ``RuntimeError`` where vLLM's take other arguments.
    """
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    for operation in _OPERATIONS:
        name = operation.__name__
        if list(inspect.signature(getattr(lora_ops, name)).parameters) != list(inspect.signature(operation).parameters):
            raise RuntimeError(f"this vLLM's {name} takes other arguments; see the pinned range in pyproject.toml")
        setattr(lora_ops, name, operation)
        setattr(punica_cpu, name, operation)
