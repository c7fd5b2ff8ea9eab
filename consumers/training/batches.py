"""Splits off held-out examples and batches the others. Both depend on ids and the seed alone."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consumers.training.tokenization import TokenizedExample

GROUP_BATCHES = 4
"""Batches that are cut from one length-sorted group. Grouping by length cut an epoch from 39.0 to 27.5 s
(reference/training.md 2.1). Sorting the whole set would put all wordings of one rule, which are equally long, into
one batch at every epoch."""

MIN_EXAMPLES_FOR_HELDOUT = 10


@dataclass(frozen=True)
class Split:
    """Disjoint ids, each sorted, that together are the training set."""

    trained: tuple[str, ...]
    heldout: tuple[str, ...]


def split_heldout(example_ids: Sequence[str], fraction: float, seed: int) -> Split:
    """Hold out ``floor(fraction * n)`` ids by a seeded permutation of the sorted ids, whatever order they came in.

    With a fraction above zero and at least ten examples, one or more are held out. With fewer, none are.
    """
    ordered = sorted(example_ids)
    if fraction == 0 or len(ordered) < MIN_EXAMPLES_FOR_HELDOUT:
        return Split(tuple(ordered), ())
    count = max(1, int(fraction * len(ordered)))
    permuted = ordered.copy()
    random.Random(f"heldout:{seed}").shuffle(permuted)  # noqa: S311 - a reproducible choice, not a secret
    heldout = frozenset(permuted[:count])
    return Split(tuple(name for name in ordered if name not in heldout), tuple(sorted(heldout)))


def epoch_batches(
    examples: Mapping[str, TokenizedExample], trained: Sequence[str], batch_size: int, epoch: int, seed: int
) -> list[list[TokenizedExample]]:
    """Each trained example once, in batches of up to ``batch_size`` examples of similar length, in a seeded order."""
    order = random.Random(f"epoch:{seed}:{epoch}")  # noqa: S311 - a reproducible choice, not a secret
    permuted = sorted(trained)
    order.shuffle(permuted)
    batches: list[list[TokenizedExample]] = []
    group_size = batch_size * GROUP_BATCHES
    for start in range(0, len(permuted), group_size):
        group = [examples[name] for name in permuted[start : start + group_size]]
        group.sort(key=lambda example: len(example.input_ids))
        batches += [group[first : first + batch_size] for first in range(0, len(group), batch_size)]
    order.shuffle(batches)
    return batches
