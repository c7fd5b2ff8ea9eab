"""Reads records again that lanes left on the broker, beside the reading that goes on at the front."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from aiokafka import TopicPartition

from consumers.runtime.lanes import LaneScheduler
from consumers.runtime.parsing import Partition, Record
from tenancy.platform.logs import SCOPE, safe_message

logger = logging.getLogger(f"{SCOPE}.runtime")

POLL_SECONDS = 0.2
POLLED_RECORDS = 500
AFTER_AN_ERROR_SECONDS = 2.0
POSITION_SECONDS = 5.0
"""For being told where reading goes on, where the broker has removed what was asked for."""


class BackReader(Protocol):
    """What is used of aiokafka's consumer: one that is in no group."""

    def assign(self, partitions: Collection[Any]) -> None: ...

    def assignment(self) -> Collection[Any]: ...

    def seek(self, partition: Any, offset: int) -> None: ...

    async def position(self, partition: Any) -> int: ...

    async def getmany(self, *partitions: Any, timeout_ms: int, max_records: int) -> Mapping[Any, list[Record]]: ...


OpenBackReader = Callable[[], AbstractAsyncContextManager[BackReader]]


class ReadingAgain:
    """Runs while lanes have records on the broker, with a connection of its own that it closes afterwards."""

    def __init__(self, lanes: LaneScheduler, open_reader: OpenBackReader) -> None:
        self._lanes = lanes
        self._open_reader = open_reader
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Begin, where something was left and nothing reads it."""
        if self._lanes.has_left() and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name="reading again")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            async with self._open_reader() as reader:
                while self._lanes.has_left():
                    place = self._lanes.to_read_again()
                    if place is None:
                        await asyncio.sleep(POLL_SECONDS)
                    else:
                        await self._read(reader, *place)
        except Exception as error:
            logger.error("reading again failed", extra={"reason": safe_message(error)})
            await asyncio.sleep(AFTER_AN_ERROR_SECONDS)

    async def _read(self, reader: BackReader, partition: Partition, offset: int) -> None:
        place = TopicPartition(*partition)
        if place not in reader.assignment():
            reader.assign([place])
            reader.seek(place, offset)
        elif await self._position(reader, place) != offset:
            reader.seek(place, offset)
        found = await reader.getmany(place, timeout_ms=int(POLL_SECONDS * 1000), max_records=POLLED_RECORDS)
        self._lanes.take_again(partition, found.get(place, []), await self._position(reader, place))

    @staticmethod
    async def _position(reader: BackReader, place: TopicPartition) -> int:
        async with asyncio.timeout(POSITION_SECONDS):
            return await reader.position(place)
