"""Propagates W3C Trace Context: every event carries a ``traceparent``, and its effects continue its trace.

Later effects in another process continue it too: work that an event began is stored with its trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex

from opentelemetry import context, propagate, trace

from schemas.bus.envelope import Event


def current_trace() -> str | None:
    """The ``traceparent`` of what is done here, if it belongs to a trace."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")


def traced(event: Event) -> Event:
    """The event in the trace that it is published in, its own where that is none. With neither, a trace begins."""
    return event.traced(current_trace() or event.traceparent or _new_trace())


def _new_trace() -> str:
    """Its own span is exported by nobody; those that follow it are."""
    return f"00-{token_hex(16)}-{token_hex(8)}-{trace.TraceFlags.SAMPLED:02x}"


@contextmanager
def continued(traceparent: str | None) -> Iterator[None]:
    """What is done in here belongs to this trace, without a span of its own: periodic work would have too many."""
    if traceparent is None:
        yield
        return
    token = context.attach(propagate.extract({"traceparent": traceparent}))
    try:
        yield
    finally:
        context.detach(token)
