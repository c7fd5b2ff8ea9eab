"""What handling an event came to."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The result of one handling. ``EFFECT`` is the only one after which the world is different."""

    EFFECT = "EFFECT"
    NOOP_DUPLICATE = "NOOP_DUPLICATE"
    NOOP_STALE = "NOOP_STALE"
    REFUSED_PURGED = "REFUSED_PURGED"
    REFUSED_POLICY = "REFUSED_POLICY"
    DEAD_LETTERED = "DEAD_LETTERED"
