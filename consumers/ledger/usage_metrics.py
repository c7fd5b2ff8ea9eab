"""Exports what all tenants used, each amount once, without a label that names any of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opentelemetry import metrics

from schemas.bus.events import UsageRecorded
from tenancy.service.telemetry import SCOPE

TOKENS = ("prompt", "cached", "completion", "training", "embedding")
SECONDS = ("engine", "gpu", "queue")


@dataclass(frozen=True)
class UsageCounters:
    """Counted when the ledger has entered it, so a repeated report counts nothing."""

    tokens: metrics.Counter
    seconds: metrics.Counter
    retrievals: metrics.Counter
    byte_days: metrics.Counter
    budgets: metrics.Counter
    canaries: metrics.Counter

    @classmethod
    def of(cls, meter: metrics.Meter) -> UsageCounters:
        return cls(
            meter.create_counter("sano_usage_tokens", description="tokens that tenants used, by kind and source"),
            meter.create_counter("sano_usage_seconds", unit="s", description="time that tenants used, by kind"),
            meter.create_counter("sano_usage_retrievals", description="questions to tenants' documents"),
            meter.create_counter("sano_usage_byte_days", description="bytes stored times days, by area"),
            meter.create_counter("sano_budgets_reached", description="budgets of which a share was used up"),
            meter.create_counter("sano_canaries_ended", description="canaries that were ended by their metrics"),
        )

    def count(self, entered: Iterable[UsageRecorded]) -> None:
        for record in entered:
            for kind in TOKENS:
                if amount := getattr(record, f"{kind}_tokens"):
                    self.tokens.add(amount, {"kind": kind, "source": record.source})
            for kind in SECONDS:
                if amount := getattr(record, f"{kind}_seconds"):
                    self.seconds.add(amount, {"kind": kind, "source": record.source})
            if record.retrievals:
                self.retrievals.add(record.retrievals, {"source": record.source})
            for one in record.stored:
                self.byte_days.add(one.bytes, {"area": one.area})


def usage_counters() -> UsageCounters:
    """Those of this process."""
    return UsageCounters.of(metrics.get_meter(SCOPE))
