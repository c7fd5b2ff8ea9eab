"""Says how long an installation keeps each topic's events, where it asks for other than the contract's seven days.

Only live topics can be kept for longer: everything on them is ids, codes, salted commitments or ciphertext to a key
that a purge destroys. A dead letter holds whatever was sent, so its topic is never kept for longer than the contract
says; nor is it kept for longer than its live topic, which records by a redriven message that a letter was redriven.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.bus.topics import DAY_MS, LIVE_TOPICS, TOPICS, Topic, dead_letter_topic

MAX_DAYS = 36_500


def _live(retention: dict[str, int | Literal["unlimited"]]) -> dict[str, int | Literal["unlimited"]]:
    if unknown := sorted(set(retention) - set(LIVE_TOPICS)):
        raise ValueError(f"{unknown[0]} is not a topic whose retention can be set; those are {', '.join(LIVE_TOPICS)}")
    return retention


Retention = Annotated[
    dict[str, Annotated[int, Field(ge=1, le=MAX_DAYS)] | Literal["unlimited"]],
    AfterValidator(_live),
]
"""Days, or ``unlimited``, by live topic; what is not named has the contract's seven days."""


def kept(retention: Mapping[str, int | Literal["unlimited"]]) -> dict[str, Topic]:
    """Every topic of the contract, as the installation keeps it."""
    topics = dict(TOPICS)
    for name, days in retention.items():
        live, letters = TOPICS[name], TOPICS[dead_letter_topic(name)]
        if days == "unlimited":
            topics[name] = live.evolve(unlimited=True)
            continue
        retention_ms = days * DAY_MS
        topics[name] = live.evolve(retention_ms=retention_ms)
        shorter = min(letters.retention_ms, retention_ms)
        topics[letters.name] = letters.evolve(retention_ms=shorter)
    return topics


def survival(topics: Iterable[Topic]) -> timedelta | None:
    """How long any of these topics can hold an event, and so deliver it again; ``None`` where one never drops it."""
    held = tuple(topics)
    if any(topic.unlimited for topic in held):
        return None
    return timedelta(milliseconds=max(topic.worst_case_survival_ms() for topic in held))
