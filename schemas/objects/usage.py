"""Sums usage by day, idempotently: replicas report each tenant's usage every few seconds, a record per day adds it up.

A report must not be counted twice, however late and often it is delivered, so the record also lists what it counted.
A report's id serves that: it names the day whose record it belongs to, and numbers the reports of one reporter about
one tenant on that day from 1. So the counted reports are ranges for each reporter, not a list of ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import Sha256Hex
from schemas.base.timestamps import Timestamp
from schemas.bus.events import AnswersCounted, AnswersRated, CanaryAnswers, UsageRecorded, UsageSource

Ranges = tuple[tuple[int, int], ...]
"""Whole numbers as ascending ranges with a gap between any two, both ends included."""

SECONDS_DIGITS = 6
"""Sums are rounded as reports are, so that they do not depend on the order of adding."""

_REPORT = re.compile(r"(?P<day>[0-9]{8})\.(?P<reporter>[0-9a-f]{32})\.(?P<number>[1-9][0-9]{0,11})", re.ASCII)


INVENTORY_REPORTER = "0" * 32
"""Reports each tenant's storage once a day: whoever takes the day's inventory twice reports it once."""
INDEX_REPORTER = f"{1:032x}"
"""Reports what the embedder read of a tenant's documents, under the number of the index's generation."""
DATABASE_AREA = "database"
"""Of storage: what lies in the database of indexes, which may have a price of its own."""


@dataclass(frozen=True)
class Report:
    """One report of one reporter (a nonce, of one process) about one tenant. ``day`` is ``YYYYMMDD`` in UTC."""

    day: str
    reporter: str
    number: int

    @property
    def usage_id(self) -> str:
        return f"{self.day}.{self.reporter}.{self.number}"


def day_of(moment: datetime) -> str:
    """The day of an aware time in UTC, as reports name it."""
    return f"{moment.astimezone(UTC):%Y%m%d}"


def report_of(usage_id: str) -> Report | None:
    """The report that an id names; None for any other id, whose usage is kept by itself."""
    found = _REPORT.fullmatch(usage_id)
    if found is None:
        return None
    try:
        date.fromisoformat(found["day"])
    except ValueError:
        return None
    return Report(found["day"], found["reporter"], int(found["number"]))


class UsageSum(Contract):
    """Amounts added up; ``records`` is of how many events."""

    records: int = Field(default=0, ge=0)
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    cached_tokens: int = Field(default=0, ge=0)
    training_tokens: int = Field(default=0, ge=0)
    embedding_tokens: int = Field(default=0, ge=0)
    retrievals: int = Field(default=0, ge=0)
    engine_seconds: float = Field(default=0.0, ge=0.0)
    gpu_seconds: float = Field(default=0.0, ge=0.0)
    queue_seconds: float = Field(default=0.0, ge=0.0)
    byte_days: dict[str, int] = Field(default_factory=dict)
    bytes_stored: int = Field(default=0, ge=0)

    def plus(self, other: UsageSum) -> UsageSum:
        """Both together."""
        return UsageSum(
            records=self.records + other.records,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            training_tokens=self.training_tokens + other.training_tokens,
            embedding_tokens=self.embedding_tokens + other.embedding_tokens,
            retrievals=self.retrievals + other.retrievals,
            engine_seconds=round(self.engine_seconds + other.engine_seconds, SECONDS_DIGITS),
            gpu_seconds=round(self.gpu_seconds + other.gpu_seconds, SECONDS_DIGITS),
            queue_seconds=round(self.queue_seconds + other.queue_seconds, SECONDS_DIGITS),
            byte_days={
                area: self.byte_days.get(area, 0) + other.byte_days.get(area, 0)
                for area in sorted({*self.byte_days, *other.byte_days})
            },
            bytes_stored=self.bytes_stored + other.bytes_stored,
        )


def amounts_of(record: UsageRecorded) -> UsageSum:
    """One event's amounts as a sum of one."""
    byte_days = {one.area: one.bytes for one in record.stored}
    return UsageSum(
        records=1,
        byte_days=byte_days,
        **record.model_dump(exclude={"usage_id", "source", "stored", "canaries", "ratings"}),
    )


class KeptUsage(Contract):
    """Usage that is no report of a day, and when it was: the time of its event."""

    at: Timestamp
    usage: UsageRecorded


class UsageDay(Contract):
    """A tenant's usage of one day by source, and for each reporter the reports that are in it."""

    sums: dict[UsageSource, UsageSum] = Field(default_factory=dict)
    counted: dict[str, Ranges] = Field(default_factory=dict)
    canaries: dict[str, CanaryAnswers] = Field(
        default_factory=dict, description="by the number of the change of adapter by which each began"
    )
    ratings: dict[Sha256Hex, AnswersRated] = Field(default_factory=dict, description="by the adapter's digest")

    def plus(self, report: Report, record: UsageRecorded) -> UsageDay:
        """With this report; the very same record where it is in there already."""
        before = self.counted.get(report.reporter, ())
        after = with_number(before, report.number)
        if after == before:
            return self
        total = self.sums.get(record.source, UsageSum()).plus(amounts_of(record))
        canaries = dict(self.canaries)
        for one in record.canaries:
            name = str(one.activation)
            canaries[name] = compared(canaries.get(name, CanaryAnswers(activation=one.activation)), one)
        return UsageDay(
            sums=dict(sorted({**self.sums, record.source: total}.items())),
            counted=dict(sorted({**self.counted, report.reporter: after}.items())),
            canaries=dict(sorted(canaries.items())),
            ratings=with_ratings(self.ratings, record.ratings),
        )


def with_ratings(held: Mapping[str, AnswersRated], more: Iterable[AnswersRated]) -> dict[str, AnswersRated]:
    """Both together, by adapter."""
    ratings = dict(held)
    for one in more:
        before = ratings.get(one.adapter_digest, AnswersRated(adapter_digest=one.adapter_digest))
        ratings[one.adapter_digest] = one.evolve(up=before.up + one.up, down=before.down + one.down)
    return dict(sorted(ratings.items()))


def compared(one: CanaryAnswers, other: CanaryAnswers) -> CanaryAnswers:
    """Both counts of one canary together."""
    return one.evolve(
        candidate=_added(one.candidate, other.candidate),
        active=_added(one.active, other.active),
    )


def _added(one: AnswersCounted, other: AnswersCounted) -> AnswersCounted:
    return AnswersCounted(
        answers=one.answers + other.answers,
        errors=one.errors + other.errors,
        refusals=one.refusals + other.refusals,
        rated_down=one.rated_down + other.rated_down,
        seconds=round(one.seconds + other.seconds, SECONDS_DIGITS),
    )


def with_number(ranges: Ranges, number: int) -> Ranges:
    """The ranges with this number in them."""
    if any(first <= number <= last for first, last in ranges):
        return ranges
    below = [held for held in ranges if held[1] < number - 1]
    above = [held for held in ranges if held[0] > number + 1]
    touching = [*(held for held in ranges if number - 1 in held or number + 1 in held), (number, number)]
    joined = (min(first for first, _ in touching), max(last for _, last in touching))
    return (*below, joined, *above)
