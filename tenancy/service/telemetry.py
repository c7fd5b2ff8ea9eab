"""Sets up logs, traces and metrics. Labels and attributes are closed vocabularies: never a tenant, never content."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import CollectorRegistry
from pythonjsonlogger.json import JsonFormatter

from tenancy.platform.logs import SCOPE, error_location
from tenancy.platform.tracing import continued
from tenancy.service.metrics import DEAD_LETTERS, EVENTS, HANDLING, REQUEUED, UNSIGNED_EVENTS

FLUSH_SECONDS = 5.0
"""At the end of a process, for what is not exported yet: a collector that is out holds up no stop for longer."""


@dataclass(frozen=True)
class Telemetry:
    """What a service reports through. ``registry`` is scraped at ``/metrics``; it holds only our own series."""

    service: str
    registry: CollectorRegistry
    tracer: trace.Tracer
    events: metrics.Counter
    dead_letters: metrics.Counter
    requeued: metrics.Counter
    unsigned: metrics.Counter
    handling: metrics.Histogram
    meter: metrics.Meter
    flush: Callable[[], None] = lambda: None
    """Export what is not exported yet and end, as the last thing that a process does. Raises nothing."""

    @classmethod
    def of(
        cls,
        service: str,
        registry: CollectorRegistry,
        traces: TracerProvider,
        meters: MeterProvider,
        flush: Callable[[], None] = lambda: None,
    ) -> Telemetry:
        """What a service reports to these."""
        meter = meters.get_meter(SCOPE)
        return cls(
            service=service,
            registry=registry,
            tracer=traces.get_tracer(SCOPE),
            events=EVENTS.of(meter),
            dead_letters=DEAD_LETTERS.of(meter),
            requeued=REQUEUED.of(meter),
            unsigned=UNSIGNED_EVENTS.of(meter),
            handling=HANDLING.of(meter),
            meter=meter,
            flush=flush,
        )

    @contextmanager
    def span(self, name: str, traceparent: str | None, attributes: dict[str, str]) -> Iterator[trace.Span]:
        """A consumer span that continues the trace of the message, where it has one."""
        with continued(traceparent), span(name, self.tracer, trace.SpanKind.CONSUMER, attributes) as made:
            yield made


@contextmanager
def span(
    name: str,
    tracer: trace.Tracer | None = None,
    kind: trace.SpanKind = trace.SpanKind.INTERNAL,
    attributes: Mapping[str, str] | None = None,
) -> Iterator[trace.Span]:
    """A span that tells nothing of an error: its text may quote what it failed on."""
    with (tracer or trace.get_tracer(SCOPE)).start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as made:
        yield made


class _Lines(JsonFormatter):
    """What a library logs with an exception says the exception as :func:`error_location` does, without its text."""

    def formatException(self, ei: Any) -> str:
        return error_location(ei[1]) if ei[1] is not None else ""


def configure_logging(service: str) -> None:
    """JSON lines on standard error. Libraries speak only from WARNING on: their messages may quote their input."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Lines(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"service": service},
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(SCOPE).setLevel(logging.INFO)


def configure_telemetry(service: str, otlp_endpoint: str | None) -> Telemetry:
    """Set up traces and metrics; with an endpoint both are exported by OTLP/HTTP."""
    resource = Resource.create({"service.name": f"sanolith-{service}"})
    registry = CollectorRegistry()
    readers: list[MetricReader] = [PrometheusMetricReader(registry=registry)]
    traces = TracerProvider(resource=resource, shutdown_on_exit=False)
    if otlp_endpoint is not None:
        base = otlp_endpoint.rstrip("/")
        # Every command would load them, and few processes export.
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter(f"{base}/v1/metrics")))
        traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{base}/v1/traces")))
    meters = MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False)
    trace.set_tracer_provider(traces)
    metrics.set_meter_provider(meters)
    flush = partial(_within, FLUSH_SECONDS, traces.shutdown, meters.shutdown)
    return Telemetry.of(service, registry, traces, meters, flush)


def _within(seconds: float, *ends: Callable[[], None]) -> None:
    """Call each in a thread of its own, which is left behind when the time is over."""
    threads = [threading.Thread(target=end, daemon=True) for end in ends]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
