"""Judges a canary: compares its answers with those of what it is to replace, by the bounds of the tenant's policy.

Bad is told early and good late. A canary is rolled back as soon as it is worse than its bound with little doubt: the
lower end of Wilson's score interval of its rate (E. B. Wilson, Probable Inference, JASA 22, 1927, at 99 %) is above
the rate of the active adapter and the points that the policy allows, or its mean time is far above its bound. It is
promoted once it has the answers and the time that the policy asks for, and every rate as observed is within its bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import sqrt
from typing import Literal

from schemas.bus.events import AnswersCounted, CanaryAnswers
from schemas.objects import object_keys
from schemas.objects.state import CanaryState
from schemas.objects.usage import UsageDay, compared, day_of
from schemas.tenant.policy import TenantPolicy
from tenancy.platform.concurrency import gathered
from tenancy.storage.tenant_store import TenantStore

EARLY = 20
"""Answers of a canary before which nothing is said of its rates."""
FAR_SLOWER, OF_ANSWERS = 2.0, 100
"""A mean time so many times its bound ends a canary once each side has so many answers: of fewer, a few long ones could
make it.
"""
_Z = 2.576
_DAY = timedelta(days=1)

Decision = Literal["promote", "roll-back", "wait"]


@dataclass(frozen=True)
class Verdict:
    """What is to become of a canary, and a code that says why."""

    decision: Decision
    reason_code: str


async def answers_of(store: TenantStore, canary: CanaryState, now: datetime) -> CanaryAnswers:
    """What all replicas reported of this canary, over its days. Its number keeps others' reports out."""
    first, last = canary.began_at - _DAY, now + _DAY  # replicas name the day by their own clocks
    days = [day_of(first + number * _DAY) for number in range((last - first).days + 1)]
    total = CanaryAnswers(activation=canary.activation)
    for counted in await gathered(_on(store, day, str(canary.activation)) for day in days):
        total = total if counted is None else compared(total, counted)
    return total


async def _on(store: TenantStore, day: str, name: str) -> CanaryAnswers | None:
    held, _ = await store.find_record(object_keys.usage_day(day), UsageDay)
    return None if held is None else held.canaries.get(name)


def verdict(policy: TenantPolicy, canary: CanaryState, counted: CanaryAnswers, now: datetime) -> Verdict:
    """Of the same numbers and the same time always the same."""
    candidate, active = counted.candidate, counted.active
    exceeded: str | None = None
    for code, bad, of_active, points in (
        ("errors", candidate.errors, active.errors, policy.canary_error_points),
        ("refusals", candidate.refusals, active.refusals, policy.canary_refusal_points),
        ("feedback", candidate.rated_down, active.rated_down, policy.canary_down_points),
    ):
        allowed = _rate(of_active, active.answers) + points / 100
        if candidate.answers >= EARLY and _at_least(bad, candidate.answers) > allowed:
            return Verdict("roll-back", code)
        if exceeded is None and _rate(bad, candidate.answers) > allowed:
            exceeded = code
    slowest = policy.canary_slower * _mean(active)
    if slowest and _mean(candidate) > FAR_SLOWER * slowest and min(_whole(candidate), _whole(active)) >= OF_ANSWERS:
        return Verdict("roll-back", "latency")
    if exceeded is None and slowest and _mean(candidate) > slowest:
        exceeded = "latency"
    age = now - canary.began_at
    if candidate.answers < policy.canary_answers:
        missing = "too-few-answers"
    elif exceeded is None and age < timedelta(hours=policy.canary_hours):
        missing = "too-early"
    elif exceeded is None:
        return Verdict("promote", "within-bounds")
    else:
        missing = exceeded
    return Verdict("roll-back" if age >= timedelta(hours=policy.canary_max_hours) else "wait", missing)


def _rate(count: int, of: int) -> float:
    return min(1.0, count / of) if of else 0.0


def _at_least(count: int, of: int) -> float:
    """The lower end of the score interval: Wilson's equation for the confidence limits of a rate."""
    rate, z2 = _rate(count, of), _Z * _Z
    middle = rate + z2 / (2 * of)
    half = _Z * sqrt(rate * (1 - rate) / of + z2 / (4 * of * of))
    return (middle - half) / (1 + z2 / of)


def _mean(counted: AnswersCounted) -> float:
    """Seconds of an answer that did not fail; 0 where there is none."""
    return counted.seconds / _whole(counted) if _whole(counted) > 0 else 0.0


def _whole(counted: AnswersCounted) -> int:
    return counted.answers - counted.errors
