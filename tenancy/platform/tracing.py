"""Propagates W3C Trace Context: every event carries a ``traceparent``, and its effects continue its trace.

Later effects in another process continue it too: work that an event began is stored with its trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, propagate, trace
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from schemas.bus.envelope import Event

_ids = RandomIdGenerator()


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
    span_id, trace_id = _ids.generate_span_id(), _ids.generate_trace_id()
    return f"00-{trace_id:032x}-{span_id:016x}-{trace.TraceFlags.SAMPLED:02x}"


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
