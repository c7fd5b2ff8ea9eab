"""Bounds the retries of an event that fails while store, keys and bus answer. In an outage nothing bounds them.

An event that fails holds its lane, and whatever is behind it there waits, a purge command too. In an outage that is
right: the event behind would fail as well, and nothing may be dead-lettered for it. While everything answers, the
event itself is what is wrong, and after a bound it is passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from consumers.runtime.parsing import Partition, Record
from schemas.objects.object_keys import NEVER_WRITTEN
from tenancy.bootstrap import Tenancy
from tenancy.errors import PreconditionFailed, Refused, Transient
from tenancy.storage.objects import ObjectStore

PROBES = 3
"""In a row, and all must be answered: a store that answers half of its requests is an outage."""
PROBE_SECONDS = 10.0

_NO_ETAG = '"00000000000000000000000000000000"'


@dataclass
class Redeliveries:
    """Counts the failures of each record that comes again.

    It lives in memory: a consumer that is restarted counts anew, which only makes it more patient. What ends the
    process itself is counted by :mod:`consumers.runtime.crash_loops`.
    """

    limit: int
    _failures: dict[tuple[str, int, int], int] = field(default_factory=dict)

    async def is_patience_over(self, record: Record, tenancy: Tenancy) -> bool:
        """Count one failure, if store, keys and bus answer. An outage in between makes the count start anew."""
        if not await store_keys_and_bus_answer(tenancy):
            self.forget(record)
            return False
        failures = self._failures[_place(record)] = self._failures.get(_place(record), 0) + 1
        return failures >= self.limit

    def forget(self, record: Record) -> None:
        """It has ended."""
        self._failures.pop(_place(record), None)

    def forget_all(self, partitions: Collection[Partition]) -> None:
        """They are somebody else's, who counts for himself."""
        for place in [place for place in self._failures if place[:2] in partitions]:
            del self._failures[place]


def _place(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


async def store_keys_and_bus_answer(tenancy: Tenancy) -> bool:
    """Whether reads and writes are answered, several times in a row, keys opened, and publications acknowledged."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            for _ in range(PROBES):
                await _ask(tenancy.objects)
            return tenancy.keys.answers() and await tenancy.publisher.answers()
    except (Transient, Refused, TimeoutError):
        return False


async def _ask(objects: ObjectStore) -> None:
    await objects.exists(NEVER_WRITTEN)
    # SeaweedFS tells a missing bucket from a missing object only in a listing.
    async for _ in objects.keys(NEVER_WRITTEN):
        pass
    try:
        await objects.put(NEVER_WRITTEN, b"", if_match=_NO_ETAG)
    except PreconditionFailed:
        return
