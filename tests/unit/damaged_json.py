"""Damages JSON as malformed input has it: bytes or elements of a good document put out of order."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from tests.fixtures.gates import NAME
from tests.unit.damaged_bytes import damaged_bytes


def damaged(draw: random.Random, good: bytes) -> bytes:
    """A few bytes of it changed, or a few of its elements replaced by odd ones."""
    if draw.random() < 0.4:
        return damaged_bytes(draw, good, [b"{", b"]", b'"', b"\xff", b"\\ud800", b"null", b"1e999", b"[" * 200])
    value = json.loads(good)
    odd: list[Any] = [
        None,
        True,
        7,
        -1.5,
        "",
        NAME,
        [],
        {},
        [[]],
        [None],
        {"reference": NAME},
        {"a": {"b": []}},
        "\ud800",
        "x" * 40_000,
    ]
    for _ in range(draw.randrange(1, 4)):
        _put(draw, value, draw.choice(odd))
    return json.dumps(value).encode()


def _put(draw: random.Random, value: Any, odd: Any) -> None:
    """Put something odd somewhere inside."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = draw.choice(keys)
        if draw.random() < 0.3 or not isinstance(value[key], dict | list):
            value[key] = copy.deepcopy(odd)
            return
        value = value[key]
