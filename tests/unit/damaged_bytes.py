"""Damages bytes as malformed input has them."""

from __future__ import annotations

import random
from collections.abc import Sequence


def damaged_bytes(draw: random.Random, good: bytes, odd: Sequence[bytes]) -> bytes:
    """A few of its bytes are gone, others, or more; ``odd`` is what may stand in a wrong place."""
    body = bytearray(good)
    for _ in range(draw.randrange(1, 6)):
        at = draw.randrange(max(1, len(body)))
        match draw.randrange(4):
            case 0:
                del body[at : at + draw.randrange(1, 40)]
            case 1:
                body[at : at + 1] = bytes([draw.randrange(256)])
            case 2:
                body[at:at] = bytes(draw.randrange(256) for _ in range(5))
            case 3:
                body[at:at] = draw.choice(odd)
    return bytes(body)
