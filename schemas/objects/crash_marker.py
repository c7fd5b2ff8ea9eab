"""Defines the marker that detects crash loops: the first record of a partition that a consumer takes in hand."""

from __future__ import annotations

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.timestamps import Timestamp


class RecordInHand(Contract):
    """The first record of one partition that one group has not got past yet.

    A record is identified by offset and broker timestamp: in a recreated topic another record has the same offset.
    """

    offset: int = Field(ge=0)
    timestamp: int = Field(description="the broker's timestamp, in milliseconds")
    ended_processes: int = Field(default=0, ge=0, description="processes that ended with the record in hand")
    is_in_hand: bool = Field(description="being handled, unless the process that wrote this has ended")
    since: Timestamp
