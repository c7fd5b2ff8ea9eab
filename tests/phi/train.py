"""Trains the token model on made texts: ``python -m tests.phi.train``.

A sum of embeddings of hashed features, one hidden layer, softmax; by Adam, on one thread, so that the same seeds give
the same weights. Two models learn from texts of their own, and what they say is averaged: their mistakes differ. The
held-out texts, the voices and what nobody looked at are not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import tenancy.redaction
from schemas.base.redaction import SAFE_HARBOR, IdentifierType
from tenancy.redaction import words
from tenancy.redaction.tagger import CLASSES, WEIGHTS
from tenancy.redaction.token_features import BUCKETS, Memory, features, tokens
from tests.phi.lessons import lessons
from tests.phi.texts import Sample

LESSONS, WIDTH, EPOCHS, RATE, FORGET, BATCH, SEEDS = 26000, 24, 3, 0.004, 0.08, 512, (20, 21)
_BY_CLASS = {"A": IdentifierType.PERSON, "B": IdentifierType.PLACE, "C": IdentifierType.DATE}


def labelled(sample: Sample, memory: Memory) -> tuple[list[list[int]], list[int]]:
    """The features of each word, and its class: that of the identifier in which it begins."""
    spans = tokens(sample.text)
    classes = []
    for start, _ in spans:
        kind = next((kind for first, last, kind in sample.identifiers if first <= start < last), None)
        coarse = None if kind is None else _BY_CLASS.get(SAFE_HARBOR[kind], IdentifierType.ID)
        classes.append(CLASSES.index(coarse))
    return features(sample.text, spans, memory), classes


class TokenModel(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.sums = torch.nn.EmbeddingBag(BUCKETS, WIDTH, mode="sum")
        torch.nn.init.normal_(self.sums.weight, std=0.02)
        self.hidden = torch.nn.Parameter(torch.zeros(WIDTH))
        self.out = torch.nn.Linear(WIDTH, len(CLASSES))

    def forward(self, buckets: torch.Tensor, begins: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.sums(buckets, begins, per_sample_weights=kept) + self.hidden))


def train(seed: int) -> TokenModel:
    torch.manual_seed(seed)
    flat, begins, answers = _data(seed)
    model = TokenModel()
    adam = torch.optim.Adam(model.parameters(), RATE)
    steps = EPOCHS * (len(answers) // BATCH + 1)
    falling = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=steps, pct_start=0.1)
    for epoch in range(EPOCHS):
        loss_sum = 0.0
        for batch in torch.randperm(len(answers)).split(BATCH):
            at = batch.numpy()
            rows = [flat[begins[index] : begins[index + 1]] for index in at]
            buckets = torch.from_numpy(np.concatenate(rows).astype(np.int64))
            offsets = torch.from_numpy(np.cumsum([0, *map(len, rows[:-1])]))
            # A word is to be known without any one of its signs.
            kept = (torch.rand(len(buckets)) > FORGET).float() / (1 - FORGET)
            loss = torch.nn.functional.cross_entropy(
                model(buckets, offsets, kept), answers[batch], label_smoothing=0.01
            )
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            falling.step()
            loss_sum += float(loss.detach()) * len(batch)
        print(f"epoch {epoch + 1}: loss {loss_sum / len(answers):.4f} of {len(answers)} words", flush=True)
    return model


def _data(seed: int) -> tuple[NDArray[np.int32], list[int], torch.Tensor]:
    memory: Memory = {}
    rows: list[NDArray[np.int32]] = []
    begins, answers = [0], []
    for sample in lessons(LESSONS, seed):
        described, classes = labelled(sample, memory)
        for buckets, answer in zip(described, classes, strict=True):
            rows.append(np.array(buckets, dtype=np.int32))
            begins.append(begins[-1] + len(buckets))
            answers.append(answer)
    return np.concatenate(rows), begins, torch.tensor(answers)


def store(models: Sequence[TokenModel]) -> None:
    """Store the mean of several models' scores as one wider model.

    The sums, which are most, take a byte for each weight; buckets that nothing fell into are zero.
    """
    sums = np.concatenate([model.sums.weight.detach().numpy() for model in models], axis=1)
    sums = np.where(np.abs(sums).max(axis=1, keepdims=True) < 0.1, 0, sums)
    scale = float(np.abs(sums).max()) / 127
    target = Path(tenancy.redaction.__path__[0]) / WEIGHTS
    np.savez_compressed(
        target,
        sums=np.round(sums / scale).astype(np.int8),
        scale=np.float32(scale),
        hidden=np.concatenate([model.hidden.detach().numpy() for model in models]),
        out=np.concatenate([model.out.weight.detach().numpy().T for model in models]) / len(models),
        bias=np.mean([model.out.bias.detach().numpy() for model in models], axis=0),
    )
    print(f"{target.name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    words.load()
    torch.set_num_threads(1)
    store([train(seed) for seed in SEEDS])
