"""Defines what events say of redaction: which gate, which version, and how many spans of which kind; never a span.

The same as :class:`~schemas.base.redaction.RedactionReport`, in a shape of which a schema can say that no text fits in.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import ReasonCode
from schemas.base.integers import Ordinal
from schemas.base.redaction import GateVersion, IdentifierType, RedactionReport, Verdict


class SpanCount(Contract):
    """How many identifiers of one kind were replaced."""

    kind: IdentifierType
    count: Ordinal


class Redaction(Contract):
    """What a gate replaced by placeholders before anything was published."""

    gate: ReasonCode
    version: GateVersion
    counts: tuple[SpanCount, ...] = Field(default=(), max_length=64, description="by kind; none: nothing was found")

    @classmethod
    def of(cls, report: RedactionReport) -> Self:
        counts = tuple(SpanCount(kind=kind, count=count) for kind, count in sorted(report.counts.items()))
        return cls(gate=report.gate, version=report.version, counts=counts)


class GateVerdict(Contract):
    """What a gate said of a text that had been redacted before. clean: it found nothing more."""

    gate: ReasonCode
    version: GateVersion
    verdict: Verdict

    @classmethod
    def of(cls, report: RedactionReport) -> Self:
        return cls(gate=report.gate, version=report.version, verdict=report.verdict)


def gate_version(said: GateVerdict | Redaction) -> str:
    """How records and pages name a gate: ``gate/version``."""
    return f"{said.gate}/{said.version}"
