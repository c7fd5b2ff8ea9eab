"""Exports what all tenants used, each amount once, without a label that names any of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from opentelemetry import metrics

from schemas.bus.events import UsageRecorded
from tenancy.platform.logs import SCOPE
from tenancy.service.metrics import (
    BUDGETS_REACHED,
    CANARIES_ENDED,
    USAGE_BYTE_DAYS,
    USAGE_RETRIEVALS,
    USAGE_TIME,
    USAGE_TOKENS,
)

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
            USAGE_TOKENS.of(meter),
            USAGE_TIME.of(meter),
            USAGE_RETRIEVALS.of(meter),
            USAGE_BYTE_DAYS.of(meter),
            BUDGETS_REACHED.of(meter),
            CANARIES_ENDED.of(meter),
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
