"""Decides which conversations a canary answers: always the same ones, on every replica."""

from __future__ import annotations

import hashlib

from schemas.objects.state import CanaryState


def takes_part(canary: CanaryState, conversation: bytes) -> bool:
    """Whether this conversation is one of the canary's ``percent`` in a hundred.

    By a hash of the candidate and the conversation, so that another candidate gets others. Those that take part at 10
    percent also do at 30.
    """
    hashed = hashlib.sha256(canary.adapter_digest.encode() + b"|" + conversation).digest()
    return int.from_bytes(hashed[:8], "big") * 100 < canary.percent << 64
