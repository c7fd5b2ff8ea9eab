"""Lists the outcomes of handling an event."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of handling an event once. ``EFFECT`` is the only one that changed anything."""

    EFFECT = "EFFECT"
    NOOP_DUPLICATE = "NOOP_DUPLICATE"
    NOOP_STALE = "NOOP_STALE"
    REFUSED_PURGED = "REFUSED_PURGED"
    REFUSED_POLICY = "REFUSED_POLICY"
    DEAD_LETTERED = "DEAD_LETTERED"
