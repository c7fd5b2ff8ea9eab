"""Finds log entries whose signature is overdue when the log is read.

Someone who truncates or rewrites a log lacks the key to sign the rest. So such a log shows entries without a timely
checkpoint; so does the log of a ledger that is down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.bus.events import EVENT_TYPES
from schemas.evidence.audit import CHECKPOINT_ENTRIES, CHECKPOINT_SECONDS, SIGNED_AT_ONCE, AuditEntry

GRACE = timedelta(minutes=5)
"""How late a signature may be: for the look at all tenants, a ledger that starts again, and machines' clocks."""

UNCOUNTED = ("adapter.loaded",)
"""Kinds that come many at once, and not through the ledger: their number makes it sign no earlier."""
OF_THE_LEDGER = frozenset(event_type.removeprefix("sano.") for event_type in EVENT_TYPES)
"""Kinds that the ledger enters itself. It looks at how many are unsigned when it has entered one."""


@dataclass(frozen=True)
class SigningPolicy:
    """When the ledger signs: what ``SANO_AUDIT_CHECKPOINT_ENTRIES`` and ``…_SECONDS`` say."""

    entries: int = CHECKPOINT_ENTRIES
    seconds: float = CHECKPOINT_SECONDS


def overdue(unsigned: Iterable[AuditEntry], read_at: datetime, policy: SigningPolicy) -> Iterator[AuditEntry]:
    """Those of the entries after the last checkpoint that a later one should cover, in their order.

    An entry from the future is one of them, since it would never be due.
    """
    counted, is_full = 0, False
    for entry in unsigned:
        counted += entry.kind not in UNCOUNTED
        fills = not is_full and counted >= policy.entries and entry.kind in OF_THE_LEDGER
        is_full = is_full or fills
        at_once = entry.kind in SIGNED_AT_ONCE or fills
        due = entry.recorded_at + (timedelta() if at_once else timedelta(seconds=policy.seconds))
        if due + GRACE < read_at or read_at + GRACE < entry.recorded_at:
            yield entry
