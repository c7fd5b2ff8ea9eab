"""Greedy answers with the likeliest tokens at each place, and whether two of them can be of the same weights.

The engine computes in bfloat16, and what else is in the batch decides the order in which sums are made. So an answer
may differ from the one given alone where two tokens are as likely as each other, and nowhere else. From there on the
two go on from other words, and are no longer compared.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.attack.wire import Got

CANDIDATES = 5
RESOLUTION = 2.0**-2
"""How far apart neighbours in bfloat16 (8 significant bits) are from 32 on, where this model's largest logits are."""
TIED = 2 * RESOLUTION
"""Each of two logits may be rounded to its neighbour: then what was a step apart changes places."""
FLOAT32 = 2.0**-17
"""As far as logarithms of probabilities of this size are rounded, which are the logits' distances plus a constant."""
NOISE = 3 * RESOLUTION
"""So far one and the same token's logarithm of probability may lie apart in two batches: sums over all layers."""


@dataclass(frozen=True)
class Greedy:
    """``tokens`` of an answer, and for each place the logarithms of the probabilities of the likeliest tokens."""

    tokens: tuple[str, ...]
    likeliest: tuple[dict[str, float], ...]


def asked(prompt: str, tokens: int, *, stream: bool) -> dict[str, Any]:
    """The body of a request for a greedy answer."""
    return {
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "logprobs": CANDIDATES,
        "stream": stream,
    }


def told(got: Got) -> Greedy:
    """The answer, whole or streamed."""
    if got.headers.get("content-type", "").startswith("text/event-stream"):
        lines = [line.removeprefix(b"data: ") for line in got.body.split(b"\n\n") if line]
        parts = [json.loads(line) for line in lines if line != b"[DONE]"]
    else:
        parts = [json.loads(got.body)]
    said = [choice["logprobs"] for part in parts for choice in part["choices"] if choice.get("logprobs")]
    tokens = tuple(token for held in said for token in held["tokens"])
    return Greedy(tokens, tuple(each for held in said for each in held["top_logprobs"]))


def apart(alone: Greedy, mixed: Greedy) -> str | None:
    """Why the two cannot be of the same weights; None where they can."""
    for place, (expected, came) in enumerate(zip(alone.tokens, mixed.tokens, strict=True)):
        first, second = alone.likeliest[place], mixed.likeliest[place]
        if expected != came:
            distances = _distance(first, expected, came), _distance(second, expected, came)
            return None if min(distances) <= TIED + FLOAT32 else f"no tie at token {place}: {distances} apart"
        if abs(first[expected] - second[came]) > NOISE:
            return f"another probability at token {place}: {abs(first[expected] - second[came]):.3f} apart"
    return None


def noise(alone: Greedy, mixed: Greedy) -> float:
    """The most that one token's logarithm of probability differs, up to the first other token."""
    most = 0.0
    for place, (expected, came) in enumerate(zip(alone.tokens, mixed.tokens, strict=True)):
        if expected != came:
            break
        most = max(most, abs(alone.likeliest[place][expected] - mixed.likeliest[place][came]))
    return most


def difference(alone: Greedy, mixed: Greedy) -> float | None:
    """How far apart the two tokens of the first difference are, in the answer given alone; None without one."""
    for place, (expected, came) in enumerate(zip(alone.tokens, mixed.tokens, strict=True)):
        if expected != came:
            likeliest = alone.likeliest[place]
            return likeliest[expected] - likeliest.get(came, float("-inf"))
    return None


def _distance(likeliest: dict[str, float], one: str, other: str) -> float:
    """How far apart two tokens are; infinitely where one of them is not among the likeliest."""
    return abs(likeliest[one] - likeliest[other]) if one in likeliest and other in likeliest else float("inf")
