"""Trains the token model on the texts of the development split and on pieces: ``python -m tests.phi.train``.

Multinomial logistic regression over hashed features, by stochastic gradient descent with Adagrad and a small weight
decay. The same seed gives the same weights. The held-out texts are not seen.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

import tenancy.redaction
from schemas.base.redaction import SAFE_HARBOR, IdentifierType
from tenancy.redaction import words
from tenancy.redaction.tagger import CLASSES, WEIGHTS
from tenancy.redaction.token_features import BUCKETS, features, tokens
from tests.phi.texts import Sample, pieced, samples

TEXTS, PIECED, EPOCHS, RATE, DECAY, SEED = 800, 16000, 3, 0.15, 1e-6, 20
_BY_CLASS = {"A": IdentifierType.PERSON, "B": IdentifierType.PLACE, "C": IdentifierType.DATE}


def labelled(sample: Sample) -> list[tuple[list[int], int]]:
    """The features of each word and its class."""
    spans = tokens(sample.text)
    classes = []
    for start, end in spans:
        kind = next((kind for first, last, kind in sample.identifiers if first <= start and end <= last), None)
        coarse = None if kind is None else _BY_CLASS.get(SAFE_HARBOR[kind], IdentifierType.ID)
        classes.append(CLASSES.index(coarse))
    return list(zip(features(sample.text, spans), classes, strict=True))


def train() -> None:
    words.load()
    rng = random.Random(SEED)
    texts = [*samples("dev", TEXTS, SEED), *samples("dev", TEXTS, SEED, clean=True), *pieced(PIECED, SEED)]
    data = [token for sample in texts for token in labelled(sample)]
    weights = np.zeros((BUCKETS, len(CLASSES)), dtype=np.float64)
    squares = np.full((BUCKETS, len(CLASSES)), 1e-6)
    for epoch in range(EPOCHS):
        rng.shuffle(data)
        loss = 0.0
        for buckets, answer in data:
            scores = weights[buckets].sum(axis=0)
            odds = np.exp(scores - scores.max())
            gradient = odds / odds.sum()
            loss -= float(np.log(max(gradient[answer], 1e-12)))
            gradient[answer] -= 1.0
            squares[buckets] += gradient**2
            weights[buckets] -= RATE * (gradient / np.sqrt(squares[buckets]) + DECAY * weights[buckets])
        print(f"epoch {epoch + 1}: loss {loss / len(data):.4f} of {len(data)} words", flush=True)
    scale = float(np.abs(weights).max()) / 127
    target = Path(tenancy.redaction.__path__[0]) / WEIGHTS
    np.savez_compressed(target, weights=np.round(weights / scale).astype(np.int8), scale=np.float32(scale))
    print(f"{target.name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    train()
