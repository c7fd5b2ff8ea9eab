"""Judges texts that were redacted before: the gate must find nothing more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from schemas.base.redaction import RedactionReport
from schemas.bus.content import ChatMessage
from tenancy.errors import Refused
from tenancy.redaction.at_first_use import GateSource
from tenancy.redaction.terms import TenantTerms


async def found_clean(gate: GateSource, messages: Sequence[ChatMessage], terms: TenantTerms) -> RedactionReport:
    """Run the gate, in a thread that ends soon after a cancellation, so that attempts do not pile up.

    Raises :class:`Refused`: ``identifiers-found``, with kinds and counts only, and ``text-too-long``.
    """
    given_up = threading.Event()
    try:
        report = await asyncio.to_thread(lambda: gate().judge(messages, given_up.is_set, terms=terms))
    finally:
        given_up.set()
    if report.verdict != "clean":
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(report.counts.items()))
        raise Refused("identifiers-found", f"refused: the redaction gate finds identifiers in it ({kinds})")
    return report
