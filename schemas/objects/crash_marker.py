"""The record that a consumer takes in hand first of a partition: it may be what ended the process before."""

from __future__ import annotations

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.timestamps import Timestamp


class RecordInHand(Contract):
    """The first record of one partition that one group has not got past yet.

    A record is known by its place and by its broker's time: after a topic was made anew, another one has its place.
    """

    offset: int = Field(ge=0)
    timestamp: int = Field(description="the broker's, in milliseconds")
    ended_processes: int = Field(default=0, ge=0, description="that had it in hand when they ended")
    is_in_hand: bool = Field(description="now, unless the process that says so has ended")
    since: Timestamp
