"""Waits for every replica to acknowledge; one that does not is fenced, and its lease runs out. None is skipped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.base.contract import read_tolerant
from schemas.objects import object_keys
from schemas.objects.replicas import ReplicaAcknowledgement, ReplicaRecord
from tenancy.errors import ObjectNotFound, PreconditionFailed
from tenancy.platform.clock import Clock
from tenancy.platform.concurrency import gathered
from tenancy.platform.settings import CLOCK_SKEW_SECONDS
from tenancy.storage.objects import ObjectStore


async def holds_lease(objects: ObjectStore, replica_id: str, incarnation: str) -> bool:
    """Whether this process of the replica has its lease, though it may be cut off. Nobody has one without a record."""
    held = await _read(objects, replica_id)
    return held is not None and held[0].incarnation == incarnation


@dataclass(frozen=True)
class Replicas:
    """The leases of the serving replicas, as a purge or a retirement sees them."""

    objects: ObjectStore
    clock: Clock
    answer_seconds: float

    async def answerable(self) -> AsyncIterator[str]:
        """Every replica that has a record, whatever its lease says.

        One whose lease is over may only have lost touch with the bucket. One that another purge has cut off may serve
        until its lease ends and, if it hangs, holds in memory what it held then: until it is started anew, and takes
        its record over, it may be any tenant's. What ends the wait for it is the end of its lease (:meth:`ended`), so
        one that is long over holds nobody up, and is named with its times all the same.
        """
        async for key in self.objects.keys(object_keys.REPLICAS_PREFIX):
            yield key.removeprefix(object_keys.REPLICAS_PREFIX).removesuffix(".json")

    async def incarnations(self, replica_ids: Iterable[str]) -> dict[str, str]:
        """The process that holds each replica's lease, as far as there is a record that can be read."""

        async def read(replica_id: str) -> tuple[str, str] | None:
            try:
                held = await _read(self.objects, replica_id)
            except ValueError:
                return None
            return None if held is None else (replica_id, held[0].incarnation)

        return dict(one for one in await gathered(read(replica_id) for replica_id in replica_ids) if one is not None)

    async def ended(
        self, replica_id: str, cause_id: str, since: datetime, incarnation: str | None
    ) -> ReplicaAcknowledgement | None:
        """How a replica that has not acknowledged is over, or None while it may still serve.

        ``incarnation``: its process when it was found, after the swap of the state that is to be followed. If another
        one has the lease now, that started on the swapped state and holds nothing; so it need not answer, and all there
        is to wait for is the end of the lease of the one that was found, should that still run.

        A live one is cut off once it had its time to answer since it was asked, or since it started where that is
        later. From then on it cannot renew, and it stops serving by itself when its lease ends. Of one that was cut
        off already, by whichever purge or retirement, only that end is waited for.
        """
        held = await _read(self.objects, replica_id)
        now = self.clock()
        if held is None:
            return ReplicaAcknowledgement(replica_id=replica_id, outcome="expired", at=now, incarnation=incarnation)
        record, etag = held
        if incarnation is not None and record.incarnation != incarnation:
            end = record.earlier.get(incarnation)
            if end is not None and not _is_over(end, now):
                return None
            return ReplicaAcknowledgement(
                replica_id=replica_id, outcome="expired", at=now, incarnation=incarnation, lease_ended_at=end
            )
        if record.fenced_at is None:
            asked_at = max(since, record.started_at)
            is_due = now >= asked_at + timedelta(seconds=self.answer_seconds)
            if not (is_due or _is_over(record.expires_at, now)):
                return None
            record = record.evolve(fenced_at=now, fenced_by=cause_id, used_last=())
            try:
                await self.objects.put(
                    object_keys.replica_key(replica_id), record.model_dump_json().encode(), if_match=etag
                )
            except (PreconditionFailed, ObjectNotFound):
                return None  # it renewed in this moment, or was taken away; the next look decides
        if not _is_over(record.expires_at, now):
            return None
        return ReplicaAcknowledgement(
            replica_id=replica_id,
            outcome="expired",
            at=now,
            incarnation=record.incarnation,
            lease_ended_at=record.expires_at,
            fenced_at=record.fenced_at,
        )


async def _read(objects: ObjectStore, replica_id: str) -> tuple[ReplicaRecord, str] | None:
    """The record and its ETag. Raises :class:`ValueError` for one that cannot be read."""
    try:
        stored = await objects.get(object_keys.replica_key(replica_id))
    except ObjectNotFound:
        return None
    return read_tolerant(ReplicaRecord, stored.body), stored.etag


def _is_over(end: datetime, now: datetime) -> bool:
    """By the replica's own clock too, which may be behind."""
    return now >= end + timedelta(seconds=CLOCK_SKEW_SECONDS)
