"""Waits until every consumer of the given topics has handled the current backlog."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from producers.queries.waiting import until
from producers.replay.log import EventLog
from schemas.base.contract import read_tolerant
from schemas.bus.asyncapi import consumer_group
from schemas.bus.topics import REPLICA_SERVICE, TOPICS
from schemas.objects import object_keys
from schemas.objects.replicas import ReplicaRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import BusUnavailable, ObjectNotFound


@dataclass(frozen=True)
class Handling:
    """The consumers of an installation. They commit an offset once a message and its outcome are done with, so that
    their offsets also tell of messages that nobody has a handler for and nobody tells an outcome of."""

    log: EventLog
    tenancy: Tenancy
    timeout_seconds: float

    async def of(self, topics: Sequence[str]) -> None:
        """Return once all is handled; raises :class:`producers.queries.waiting.WaitedTooLong`."""
        if not topics:
            return
        ends = {(r.topic, r.partition): r.end for r in await self.log.ranges(sorted(topics)) if r.begin < r.end}
        for service in sorted({service for topic in topics for service in TOPICS[topic].consumers}):
            for group in [group async for group in self._groups(service)]:
                own = {at: end for at, end in ends.items() if service in TOPICS[at[0]].consumers}
                await self._by(group, own)

    async def _groups(self, service: str) -> AsyncIterator[str]:
        if service != REPLICA_SERVICE:
            yield consumer_group(service)
            return
        # Every replica that is alive; one that is not has nothing loaded.
        now = self.tenancy.clock()
        async for key in self.tenancy.objects.keys(object_keys.REPLICAS_PREFIX):
            with suppress(ObjectNotFound):
                record = read_tolerant(ReplicaRecord, (await self.tenancy.objects.get(key)).body)
                if record.expires_at > now:
                    yield f"{REPLICA_SERVICE}.{record.replica_id}"

    async def _by(self, group: str, ends: dict[tuple[str, int], int]) -> None:
        async def look() -> bool | None:
            try:
                committed = await self.log.committed(group)
            except BusUnavailable:
                return None  # the group's coordinator moves, or there was never a group yet
            return all(committed.get(at, 0) >= end for at, end in ends.items()) or None

        await until(look, what=f"handling by the group {group}", timeout_seconds=self.timeout_seconds)
