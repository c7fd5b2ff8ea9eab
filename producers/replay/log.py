"""Declares the port that reads topics as a log: at any offset, without a group, committing nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from pydantic import Field

from schemas.base.contract import Contract
from tenancy.errors import Refused

Headers = tuple[tuple[str, bytes | None], ...]


class Place(NamedTuple):
    """Where a message lies on a cluster."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return "/".join(map(str, self))


@dataclass(frozen=True)
class Message:
    """One message. ``time`` is when the broker appended it."""

    place: Place
    time: datetime
    key: bytes | None
    value: bytes | None
    headers: Headers


class PartitionRange(Contract):
    """Offsets of one partition, from ``begin`` up to and without ``end``."""

    topic: str
    partition: int = Field(ge=0)
    begin: int = Field(ge=0)
    end: int = Field(ge=0)


class EventLog(Protocol):
    """Reads topics. Every method may raise :class:`tenancy.errors.BusUnavailable`."""

    async def ranges(
        self, topics: Sequence[str], *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[PartitionRange, ...]:
        """What every partition holds now, or what was appended from ``since`` up to and without ``until``.

        The ends are pinned: what is appended later is in no range. Raises :class:`Refused` for a topic that the
        cluster does not have.
        """
        ...

    def messages(self, ranges: Sequence[PartitionRange]) -> AsyncIterator[Message]:
        """Every committed message of the ranges: by offset within a partition, by append time between partitions.

        One iteration at a time. Raises :class:`Refused` when the beginning of a range is not there any more.
        """
        ...

    async def committed(self, group: str) -> dict[tuple[str, int], int]:
        """By topic and partition, the offset of the next message that the group will handle."""
        ...


def no_topic(topic: str) -> Refused:
    return Refused("no-topic", f"refused: the bus has no topic {topic}; run `sano topics apply`")


def removed_by_retention() -> Refused:
    return Refused(
        "retention", "refused: retention has removed a part of what was to be read since the plan was made; plan anew"
    )
