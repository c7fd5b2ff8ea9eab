"""Finds log entries whose signature is overdue when the log is read.

Someone who truncates or rewrites a log lacks the key to sign the rest. So such a log shows entries without a timely
checkpoint; so does the log of a ledger that is down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from schemas.evidence.audit import CHECKPOINT_SECONDS, SIGNED_AT_ONCE, AuditEntry

GRACE = timedelta(minutes=5)
"""How late a signature may be: for the look at all tenants, a ledger that starts again, and machines' clocks."""


def overdue(
    unsigned: Iterable[AuditEntry], read_at: datetime, seconds: float = CHECKPOINT_SECONDS
) -> Iterator[AuditEntry]:
    """Those of the entries after the last checkpoint that a later one should cover, in their order. The ledger signs
    after so many ``seconds`` at the latest.

    An entry from the future is one of them, since it would never be due.
    """
    for entry in unsigned:
        due = entry.recorded_at + timedelta(seconds=0 if entry.kind in SIGNED_AT_ONCE else seconds)
        if due + GRACE < read_at or read_at + GRACE < entry.recorded_at:
            yield entry
