"""Defines every metric of every service: its kind, name, description and unit. Nothing else creates an instrument.

A name begins with the subsystem that counts: ``sano_bus_…`` in each consumer, ``sano_inference_…`` in a replica.
Prometheus adds ``_total`` to a counter's. Labels are closed vocabularies, and none names a tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

SUBSYSTEMS = ("bus", "inference", "purge", "ledger", "curation_tools")


@dataclass(frozen=True)
class Metric:
    """``unit``: as UCUM writes it, ``s`` for seconds."""

    name: str
    description: str
    unit: str = ""


class Counter(Metric):
    """A sum that only grows."""

    def of(self, meter: metrics.Meter) -> metrics.Counter:
        return meter.create_counter(self.name, self.unit, self.description)


class Histogram(Metric):
    """A distribution of single values."""

    def of(self, meter: metrics.Meter) -> metrics.Histogram:
        return meter.create_histogram(self.name, self.unit, self.description)


class Gauge(Metric):
    """A value that is asked for at each export."""

    def observe(self, meter: metrics.Meter, observed: Callable[[CallbackOptions], Iterable[Observation]]) -> None:
        meter.create_observable_gauge(self.name, [observed], self.unit, self.description)


EVENTS = Counter("sano_bus_events", "handled events by type and outcome")
DEAD_LETTERS = Counter("sano_bus_dead_letters", "dead letters by topic and reason")
REQUEUED = Counter("sano_bus_requeued", "commands sent to the back of their topic")
UNSIGNED_EVENTS = Counter("sano_bus_unsigned_events", "unsigned events that were taken, by type")
HANDLING = Histogram("sano_bus_handling_seconds", "time to handle an event", "s")

REQUESTS = Counter("sano_inference_requests", "answered requests by route")
FEEDBACK = Counter("sano_inference_feedback", "answers that were rated")
REQUEST_WAIT = Histogram("sano_inference_request_wait_seconds", "from a request to its turn at the engine", "s")
ADAPTER_LOAD = Histogram("sano_inference_adapter_load_seconds", "from the object store into the engine", "s")
ADAPTERS_UNPINNED = Counter("sano_inference_adapters_unpinned", "tenants whose adapter found no free pin")
UNAUDITED_LOADS = Counter("sano_inference_unaudited_loads", "loads of adapters that the audit log does not know")
ENGINE_RESTARTS = Counter("sano_inference_engine_restarts", "engines started after one had died or hung")
REQUESTS_ENDING_ENGINE = Counter(
    "sano_inference_requests_ending_engine", "refused requests that were in flight when the engine ended, twice"
)

PURGE_REMAINING = Gauge(
    "sano_purge_remaining_seconds", "left of the deletion SLA that ends first; negative once it has passed", "s"
)
PURGES_OPEN = Gauge("sano_purge_open", "open purges by step")
PURGES_FLAGGED = Gauge("sano_purge_flagged", "open purges in each side state")
TENANTS_NOT_FENCED = Gauge("sano_purge_tenants_not_fenced", "tenants that are active although a purge was asked for")

USAGE_TOKENS = Counter("sano_ledger_usage_tokens", "tokens that tenants used, by kind and source")
USAGE_TIME = Counter("sano_ledger_usage_seconds", "time that tenants used, by kind", "s")
USAGE_RETRIEVALS = Counter("sano_ledger_usage_retrievals", "questions to tenants' documents")
USAGE_BYTE_DAYS = Counter("sano_ledger_usage_byte_days", "bytes stored times days, by area")
BUDGETS_REACHED = Counter("sano_ledger_budgets_reached", "budgets of which a share was used up")
CANARIES_ENDED = Counter("sano_ledger_canaries_ended", "canaries that were ended by their metrics")

CURATION_TOOL_RECORDS = Counter("sano_curation_tools_records", "what became of a curation tool's records")
