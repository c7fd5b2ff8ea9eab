"""Waiting for every replica: it acknowledges, or it is cut off its lease and the lease ends. None is skipped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.base.contract import read_tolerant
from schemas.objects import object_keys
from schemas.objects.replicas import ReplicaAcknowledgement, ReplicaRecord
from tenancy.errors import ObjectNotFound, PreconditionFailed
from tenancy.platform.clock import Clock
from tenancy.platform.settings import CLOCK_SKEW_SECONDS
from tenancy.storage.objects import ObjectStore


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

    async def ended(self, replica_id: str, cause_id: str, since: datetime) -> ReplicaAcknowledgement | None:
        """How a replica that has not acknowledged is over, or None while it may still serve.

        A live one is cut off once it had its time to answer since it was asked, or since it started where that is
        later. From then on it cannot renew, and it stops serving by itself when its lease ends. Of one that was cut
        off already, by whichever purge or retirement, only that end is waited for.
        """
        held = await self._record(replica_id)
        now = self.clock()
        if held is None:
            return ReplicaAcknowledgement(replica_id=replica_id, outcome="expired", at=now)
        record, etag = held
        if record.fenced_at is None:
            asked_at = max(since, record.started_at)
            is_due = now >= asked_at + timedelta(seconds=self.answer_seconds)
            if not (is_due or self._is_over(record, now)):
                return None
            record = record.model_copy(update={"fenced_at": now, "fenced_by": cause_id})
            try:
                await self.objects.put(
                    object_keys.replica_key(replica_id), record.model_dump_json().encode(), if_match=etag
                )
            except (PreconditionFailed, ObjectNotFound):
                return None  # it renewed in this moment, or was taken away; the next look decides
        if not self._is_over(record, now):
            return None
        return ReplicaAcknowledgement(
            replica_id=replica_id,
            outcome="expired",
            at=now,
            lease_ended_at=record.expires_at,
            fenced_at=record.fenced_at,
        )

    async def _record(self, replica_id: str) -> tuple[ReplicaRecord, str] | None:
        try:
            stored = await self.objects.get(object_keys.replica_key(replica_id))
        except ObjectNotFound:
            return None
        return read_tolerant(ReplicaRecord, stored.body), stored.etag

    def _is_over(self, record: ReplicaRecord, now: datetime) -> bool:
        """By the replica's own clock too, which may be behind."""
        return now >= record.expires_at + timedelta(seconds=CLOCK_SKEW_SECONDS)
