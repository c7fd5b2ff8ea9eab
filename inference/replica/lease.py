"""Holds the replica's lease, a record under ``replicas/``. Without it the replica serves no adapter.

A purge that a replica does not answer fences it: it marks the record, after which the replica cannot renew. So the
lease ends for good, the replica stops serving adapters by itself, and must be restarted, which leaves nothing of what
it held.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from schemas.base.contract import read_tolerant
from schemas.bus.events import ReplicaRegistered
from schemas.objects import object_keys
from schemas.objects.replicas import USED_LAST, ReplicaRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import LeaseLost, ObjectNotFound, PreconditionFailed
from tenancy.platform.clock import random_nonce
from tenancy.platform.settings import CLOCK_SKEW_SECONDS
from tenancy.platform.threads import ahead_of_others
from tenancy.storage.cas_record import CasRecord

KEPT_ENDS = 16
"""Ends of the leases of earlier processes that a record names, and of those that may run on, however many."""


@dataclass
class ReplicaLease:
    """Held by one process, which the record names by its ``incarnation``."""

    tenancy: Tenancy
    replica_id: str
    base_model_digest: str
    seconds: float
    started_at: datetime
    incarnation: str = field(default_factory=random_nonce)
    expires_at: datetime | None = None
    is_fenced: bool = False
    used_last: tuple[str, ...] = ()
    """Tenants whose adapters are loaded, at first those of the process that had the lease before."""
    _held: tuple[ReplicaRecord, str | None] | None = None
    """The record as this process wrote it last, with its ETag."""

    def is_held(self) -> bool:
        return not self.is_fenced and self.expires_at is not None and self.tenancy.clock() < self.expires_at

    async def register(self) -> None:
        """Take the lease over from whoever had it, then announce this replica.

        A process that starts holds nothing of any tenant, so an earlier one's fence does not concern it; that one,
        should it still run, cannot renew any more, and until when it may serve is kept.
        """
        self._held = None
        await self.renew()
        data = ReplicaRegistered(replica_id=self.replica_id, base_model_digest=self.base_model_digest)
        await self.tenancy.outbox.publish(self.replica_id, data)

    async def renew(self) -> None:
        """Extend the lease, also one that is over, as long as nobody took it away.

        Raises :class:`LeaseLost` for good once somebody did, and :class:`Transient` when that cannot be found out.
        """
        if self.is_fenced:
            raise LeaseLost(self.replica_id)
        record = CasRecord(self._read, self._write)
        try:
            with ahead_of_others():
                renewed = await record.swap(self._renewed, base=self._held)
        except LeaseLost:
            self.is_fenced = True
            raise
        self._held = renewed.record, renewed.etag
        self.expires_at = renewed.record.expires_at

    def _renewed(self, found: ReplicaRecord) -> ReplicaRecord:
        """``found`` for longer, or in its place a record of this process, which names those that had it before.

        Raises :class:`LeaseLost` where this process had the lease, and the record is fenced or another's.
        """
        # Counted from before the write: the record never claims to live longer than this replica believes.
        expires_at = self.tenancy.clock() + timedelta(seconds=self.seconds)
        if found.incarnation == self.incarnation:
            if found.fenced_at is not None:
                raise LeaseLost(self.replica_id)
            return found.evolve(expires_at=expires_at, used_last=self.used_last[:USED_LAST])
        if self._held is not None:
            raise LeaseLost(self.replica_id)
        self.used_last = found.used_last
        return self._first().evolve(expires_at=expires_at, earlier=self._may_run_on(found), used_last=self.used_last)

    def _first(self) -> ReplicaRecord:
        """A record of this process alone, whose lease has not begun."""
        return ReplicaRecord(
            replica_id=self.replica_id,
            base_model_digest=self.base_model_digest,
            started_at=self.started_at,
            expires_at=self.started_at,
            incarnation=self.incarnation,
        )

    def _may_run_on(self, found: ReplicaRecord) -> dict[str, datetime]:
        ends = list({**found.earlier, found.incarnation: found.expires_at}.items())
        may_run = self.tenancy.clock() - timedelta(seconds=2 * CLOCK_SKEW_SECONDS)
        older, latest = ends[:-KEPT_ENDS], ends[-KEPT_ENDS:]
        return dict([*(one for one in older if one[1] > may_run), *latest])

    async def _read(self) -> tuple[ReplicaRecord, str | None]:
        """The record. One that is missing or that nobody can read tells of nobody, unless this process wrote it."""
        found, etag = None, None
        with suppress(ObjectNotFound, ValueError):
            stored = await self.tenancy.objects.get(self._key)
            etag = stored.etag
            found = read_tolerant(ReplicaRecord, stored.body)
        if found is None and self._held is not None:
            raise LeaseLost(self.replica_id)
        return found or self._first(), etag

    async def _write(self, record: ReplicaRecord, etag: str | None) -> str:
        body = record.model_dump_json().encode()
        try:
            return await self.tenancy.objects.put(self._key, body, if_match=etag, if_absent=etag is None)
        except ObjectNotFound as gone:
            raise PreconditionFailed("the replica's record is gone") from gone

    @property
    def _key(self) -> str:
        return object_keys.replica_key(self.replica_id)
