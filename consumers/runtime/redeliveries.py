"""Patience with an event that fails again and again: bounded while store, keys and bus answer, else endless.

An event that fails holds its partition, and whatever is behind it waits, a purge command too. In an outage that is
right: the event behind would fail as well, and nothing may be dead-lettered for it. While everything answers, the
event itself is what is wrong, and after a bound it is passed over.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from consumers.runtime.parsing import Record
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
    """Counts the failures of the one record that each partition is held by.

    It lives in memory: a consumer that is restarted counts anew, which only makes it more patient. What ends the
    process itself is counted by :mod:`consumers.runtime.in_hand`.
    """

    limit: int
    _held: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)

    async def is_patience_over(self, record: Record, tenancy: Tenancy) -> bool:
        """Count one failure, if store, keys and bus answer. An outage in between makes the count start anew."""
        partition = (record.topic, record.partition)
        if not await store_keys_and_bus_answer(tenancy):
            self._held.pop(partition, None)
            return False
        offset, failures = self._held.get(partition, (record.offset, 0))
        failures = failures + 1 if offset == record.offset else 1
        self._held[partition] = (record.offset, failures)
        return failures >= self.limit


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
    try:
        await objects.put(NEVER_WRITTEN, b"", if_match=_NO_ETAG)
    except PreconditionFailed:
        return
