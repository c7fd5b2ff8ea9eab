"""Computes the loss of a batch: mean NLL over answer tokens, with the output layer run on those positions only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from consumers.training.processor import Processor
from consumers.training.result import TrainingStopped
from consumers.training.tokenization import IGNORED, TokenizedExample


@dataclass(frozen=True)
class PaddedBatch:
    """Left-padded integer tensors: ``input_ids``, ``attention_mask`` and ``position_ids`` are (examples, length) and
    ``labels`` is (examples, longest answer). Padding on the left puts every answer at the end of its row."""

    input_ids: Any
    attention_mask: Any
    position_ids: Any
    labels: Any


def collate(examples: Sequence[TokenizedExample], pad_token_id: int, device: str) -> PaddedBatch:
    """Pad ``examples`` to their common length."""
    length = max(len(example.input_ids) for example in examples)
    answer = max(example.answer_tokens for example in examples)
    ids, mask, positions, labels = [], [], [], []
    for example in examples:
        tokens = len(example.input_ids)
        padding = length - tokens
        ids.append([pad_token_id] * padding + list(example.input_ids))
        mask.append([0] * padding + [1] * tokens)
        positions.append([0] * padding + list(range(tokens)))
        labels.append([IGNORED] * (answer - example.answer_tokens) + list(example.labels[example.prompt_tokens :]))
    return PaddedBatch(*(torch.tensor(rows, device=device) for rows in (ids, mask, positions, labels)))


def answer_loss(model: Any, batch: PaddedBatch, processor: Processor, reduction: str) -> Any:
    """NLL of the answer tokens, in nats, reduced by ``mean`` or ``sum``: a float32 scalar tensor.

    Only the positions that predict an answer token reach the output layer (``logits_to_keep``): with a vocabulary of
    49152 the full logits made an epoch 34 % slower (reference/training.md 2.1). ``use_cache`` is off, since a cache
    makes transformers leave out masks that a packed row would need.
    """
    # A tensor of positions gathers them into contiguous memory. With an int they are a view, for which torch copies
    # the output layer's weights once per example.
    length, answer = batch.input_ids.shape[1], batch.labels.shape[1]
    predicting = torch.arange(length - answer - 1, length - 1, device=batch.input_ids.device)
    with processor.autocast():
        logits = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
            logits_to_keep=predicting,
        ).logits
    return cross_entropy(
        logits.float().flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED, reduction=reduction
    )


def heldout_loss(
    model: Any,
    examples: Sequence[TokenizedExample],
    batch_size: int,
    pad_token_id: int,
    processor: Processor,
    should_stop: Callable[[], bool],
) -> float | None:
    """Mean NLL per answer token over ``examples``, in nats, or ``None`` when there are none.

    Raises :class:`TrainingStopped` when ``should_stop``, which is asked before each batch, says so.
    """
    if not examples:
        return None
    ordered = sorted(examples, key=lambda example: (len(example.input_ids), example.example_id))
    total = 0.0
    model.eval()
    with torch.no_grad():
        for start in range(0, len(ordered), batch_size):
            if should_stop():
                raise TrainingStopped
            batch = collate(ordered[start : start + batch_size], pad_token_id, processor.device)
            total += float(answer_loss(model, batch, processor, "sum"))
    return total / sum(example.answer_tokens for example in examples)
