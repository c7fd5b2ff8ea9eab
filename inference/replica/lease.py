"""Holds the replica's lease, a record under ``replicas/``. Without it the replica serves no adapter.

A purge that a replica does not answer fences it: it marks the record, after which the replica cannot renew. So the
lease ends for good, the replica stops serving adapters by itself, and must be restarted, which leaves nothing of what
it held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from schemas.base.contract import read_tolerant
from schemas.bus.events import ReplicaRegistered
from schemas.objects import object_keys
from schemas.objects.replicas import USED_LAST, ReplicaRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import LeaseLost, ObjectNotFound, PreconditionFailed, Transient
from tenancy.platform.clock import random_nonce
from tenancy.platform.settings import CLOCK_SKEW_SECONDS
from tenancy.platform.threads import ahead_of_others

RENEWAL_ATTEMPTS = 3
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
    _etag: str | None = None
    _earlier: dict[str, datetime] = field(default_factory=dict)

    def is_held(self) -> bool:
        return not self.is_fenced and self.expires_at is not None and self.tenancy.clock() < self.expires_at

    async def register(self) -> None:
        """Take the lease over from whoever had it, then announce this replica.

        A process that starts holds nothing of any tenant, so an earlier one's fence does not concern it; that one,
        should it still run, cannot renew any more, and until when it may serve is kept.
        """
        self._etag = None
        await self.renew()
        data = ReplicaRegistered(replica_id=self.replica_id, base_model_digest=self.base_model_digest)
        await self.tenancy.outbox.publish(self.replica_id, data)

    async def renew(self) -> None:
        """Extend the lease, also one that is over, as long as nobody took it away.

        Raises :class:`LeaseLost` for good once somebody did, and :class:`Transient` when that cannot be found out.
        """
        if self.is_fenced:
            raise LeaseLost(self.replica_id)
        with ahead_of_others():
            await self._renew()

    async def _renew(self) -> None:
        for _ in range(RENEWAL_ATTEMPTS):
            etag = self._etag or await self._taken_over()
            # Counted from before the write: the record never claims to live longer than this replica believes.
            expires_at = self.tenancy.clock() + timedelta(seconds=self.seconds)
            record = ReplicaRecord(
                replica_id=self.replica_id,
                base_model_digest=self.base_model_digest,
                started_at=self.started_at,
                expires_at=expires_at,
                incarnation=self.incarnation,
                earlier=self._earlier,
                used_last=self.used_last[:USED_LAST],
            )
            try:
                self._etag = await self.tenancy.objects.put(
                    self._key, record.model_dump_json().encode(), if_match=etag, if_absent=etag is None
                )
            except (PreconditionFailed, ObjectNotFound):
                if self._etag is not None:
                    self._etag = await self._own_etag()
                continue
            self.expires_at = expires_at
            return
        raise Transient("the replica's record kept changing while its lease was renewed")

    async def _taken_over(self) -> str | None:
        """The ETag of the record to write over, if there is one, with the leases that it tells of noted."""
        try:
            stored = await self.tenancy.objects.get(self._key)
        except ObjectNotFound:
            self._earlier = {}
            return None
        try:
            found = read_tolerant(ReplicaRecord, stored.body)
        except ValueError:
            self._earlier = {}
            return stored.etag  # it tells of nobody, as one that was taken away
        if found.incarnation == self.incarnation:
            return await self._own_etag()  # the answer to an earlier attempt was lost
        self.used_last = found.used_last
        ends = list({**found.earlier, found.incarnation: found.expires_at}.items())
        may_run = self.tenancy.clock() - timedelta(seconds=2 * CLOCK_SKEW_SECONDS)
        older, latest = ends[:-KEPT_ENDS], ends[-KEPT_ENDS:]
        self._earlier = dict([*(one for one in older if one[1] > may_run), *latest])
        return stored.etag

    async def _own_etag(self) -> str:
        """The ETag of a record that this process wrote itself: an answer was lost on the way, and is no fence.

        Raises :class:`LeaseLost` for any other record, and for none.
        """
        try:
            stored = await self.tenancy.objects.get(self._key)
        except ObjectNotFound:
            stored = None
        if stored is not None:
            found = read_tolerant(ReplicaRecord, stored.body)
            if found.incarnation == self.incarnation and found.fenced_at is None:
                return stored.etag
        self.is_fenced = True
        raise LeaseLost(self.replica_id)

    @property
    def _key(self) -> str:
        return object_keys.replica_key(self.replica_id)
