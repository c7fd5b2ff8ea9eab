"""Defines the marker that detects crash loops: the records of a partition that a consumer has in hand."""

from __future__ import annotations

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.timestamps import Timestamp


class CrashMarker(Contract):
    """One record, in hand now or when a process ended.

    A record is identified by offset and broker timestamp: in a recreated topic another record has the same offset.
    """

    offset: int = Field(ge=0)
    timestamp: int = Field(description="the broker's, in milliseconds")
    ended_processes: int = Field(default=0, ge=0, description="that had it and nothing else in hand when they ended")


class CrashMarkers(Contract):
    """What one group has in hand of one partition, as far as the process that has it notes that."""

    records: tuple[CrashMarker, ...] = ()
    alone: int | None = Field(default=None, description="offset of the one record that the process has in hand at all")
    is_open: bool = Field(description="the process that says so has the partition, unless it ended in the midst of it")
    session: str = Field(description="of that process, drawn by lot")
    since: Timestamp
