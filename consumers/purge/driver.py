"""The purge's driver: takes each purge as far as it can go now. Any process may, at any time, again and again.

The record under ``purges/<id>.json`` is changed only by compare-and-swap. What a step did is found out by doing it
again: a second sweep of an empty prefix removes nothing, a second destruction finds no key, a second certificate is
the first one.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from consumers.purge.audit import enter_step
from consumers.purge.certificate import certificate
from consumers.purge.sweep import Store, residue, sweep
from consumers.runtime.telemetry import SCOPE, where
from schemas import object_keys
from schemas.canonical import canonical_json, sha256_hex
from schemas.events import PurgeCompleted
from schemas.manifests import StoreFinding
from schemas.model import read_tolerant
from schemas.records import PurgeRecord, ReplicaAcknowledgement, ReplicaRecord, Residue
from schemas.state import TenantState
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, PreconditionFailed
from tenancy.signing import Signer
from tenancy.state import owing
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.purge")

RECORD_ATTEMPTS = 20


def stores(tenant: str) -> tuple[Store, ...]:
    """Every place in the bucket that can hold this tenant's data."""
    return (
        Store("objects of the tenant", object_keys.tenant_prefix(tenant)),
        Store("wrapped data key", object_keys.key_key(tenant)),
        Store("superseded states", object_keys.state_key(tenant), keeps_current=True),
    )


class _Waiting(Exception):
    """The purge cannot go on before something else happens: an acknowledgement, or time."""


@dataclass(frozen=True)
class PurgeDriver:
    """Drives every open purge."""

    tenancy: Tenancy
    signer: Signer
    settle_seconds: float

    async def look(self) -> None:
        """Take every purge that is not certified as far as it goes."""
        async for purge_id in self._open_purges():
            try:
                await self.advance(purge_id)
            except _Waiting as waiting:
                logger.info("purge waits", extra={"purge_id": purge_id, "reason": str(waiting)})
            except Exception as error:
                # One purge that fails must not hold up those listed behind it; the next look tries it again.
                logger.error("purge failed", extra={"purge_id": purge_id, "error": where(error)})

    async def advance(self, purge_id: str) -> PurgeRecord:
        """Take one purge to its end. Raises :class:`_Waiting` where that must wait."""
        steps = {
            "fenced": self._shred,
            "shredded": self._evicted,
            "evicted": self._delete,
            "deleted": self._verify,
            "verified": self._certify,
        }
        record, _ = await self.read(purge_id)
        while record.step != "certified":
            # Before the next step is taken: who goes on after a crash finds the step that was reached and enters it.
            await enter_step(record, self.tenancy)
            record = await steps[record.step](record)
            logger.info("purge step", extra={"purge_id": purge_id, "step": record.step})
        return record

    async def read(self, purge_id: str) -> tuple[PurgeRecord, str]:
        """Raises :class:`ObjectNotFound`."""
        stored = await self.tenancy.objects.get(object_keys.purge_key(purge_id))
        return read_tolerant(PurgeRecord, stored.body), stored.etag

    async def acknowledge(self, purge_id: str, acknowledgement: ReplicaAcknowledgement) -> bool:
        """Note the acknowledgement of a replica that the purge waits for; False when there is none to wait for.

        A replica that started after the fence acknowledges too, when it reads the topic from its beginning.
        Raises :class:`ObjectNotFound`.
        """
        for _ in range(RECORD_ATTEMPTS):
            record, etag = await self.read(purge_id)
            known = {noted.replica_id for noted in record.acknowledgements}
            if acknowledgement.replica_id in known or acknowledgement.replica_id not in record.replicas:
                return False
            noted = (*record.acknowledgements, acknowledgement)
            with suppress(PreconditionFailed):
                await self._write(record.model_copy(update={"acknowledgements": noted}), etag)
                return True
        raise PreconditionFailed(purge_id)

    async def _shred(self, record: PurgeRecord) -> PurgeRecord:
        await self.tenancy.keys.destroy(TenantId(record.tenant))
        return await self._step(record, step="shredded", key_destroyed_at=self.tenancy.clock())

    async def _evicted(self, record: PurgeRecord) -> PurgeRecord:
        """Every replica that was alive at the fence has evicted, or its lease is over and it serves nothing."""
        noted = {acknowledgement.replica_id for acknowledgement in record.acknowledgements}
        for replica in record.replicas:
            if replica in noted:
                continue
            if await self._is_alive(replica):
                raise _Waiting(f"replica {replica} has not acknowledged")
            expired = ReplicaAcknowledgement(replica_id=replica, outcome="expired", at=self.tenancy.clock())
            await self.acknowledge(record.purge_id, expired)
        return await self._step(record, step="evicted")

    async def _is_alive(self, replica: str) -> bool:
        try:
            stored = await self.tenancy.objects.get(object_keys.replica_key(replica))
        except ObjectNotFound:
            return False
        return read_tolerant(ReplicaRecord, stored.body).expires_at > self.tenancy.clock()

    async def _delete(self, record: PurgeRecord) -> PurgeRecord:
        objects, removed = await self._sweep_all(record)
        return await self._step(
            record,
            step="deleted",
            objects_removed=record.objects_removed + objects,
            versions_removed=record.versions_removed + removed,
        )

    async def _sweep_all(self, record: PurgeRecord) -> tuple[int, int]:
        objects = removed = 0
        for store in stores(record.tenant):
            swept = await sweep(self.tenancy.objects, store)
            objects += swept.objects
            removed += swept.residue.total
        return objects, removed

    async def _verify(self, record: PurgeRecord) -> PurgeRecord:
        """List empty twice: now, and again once no writer that was alive at the fence can still write.

        What such a writer left is sealed under the key that is gone; it is swept all the same, and the listing
        starts over.
        """
        if await self._residual(record):
            objects, removed = await self._sweep_all(record)
            return await self._step(
                record,
                objects_removed=record.objects_removed + objects,
                versions_removed=record.versions_removed + removed,
                verified_at=(),
            )
        now = self.tenancy.clock()
        if not record.verified_at:
            return await self._step(record, verified_at=(now,))
        if now < record.settled_at:
            raise _Waiting("a writer that was alive at the fence may still write")
        return await self._step(record, step="verified", verified_at=(record.verified_at[0], now))

    async def _residual(self, record: PurgeRecord) -> int:
        findings = [await residue(self.tenancy.objects, store) for store in stores(record.tenant)]
        return sum(finding.total for finding in findings)

    async def _certify(self, record: PurgeRecord) -> PurgeRecord:
        nothing = Residue(versions=0, delete_markers=0, uploads=0)
        findings = tuple(
            StoreFinding(store=store.name, method="delete every version, marker and upload", after=nothing)
            for store in stores(record.tenant)
        )
        envelope = self.signer.sign(certificate(record, findings))
        location = object_keys.certificate_key(record.purge_id)
        with suppress(PreconditionFailed):  # the same record gives the same certificate
            await self.tenancy.objects.put(location, canonical_json(envelope), if_absent=True)
        completed = PurgeCompleted(
            purge_id=record.purge_id,
            objects_removed=record.objects_removed,
            residual=0,
            certificate_sha256=sha256_hex(envelope),
        )

        def purged(state: TenantState) -> TenantState:
            if state.status != "purging":
                return state
            done = state.model_copy(update={"status": "purged"})
            return owing(done, self.tenancy.outbox.entry(completed))

        tenant = TenantId(record.tenant)
        await self.tenancy.outbox.swap(tenant, purged)
        # The swaps of the purge itself left superseded states behind.
        await sweep(self.tenancy.objects, stores(tenant)[2])
        return await self._step(record, step="certified")

    async def _step(self, record: PurgeRecord, **update: object) -> PurgeRecord:
        """Write the record with ``update``, unless somebody else took it elsewhere: then theirs counts."""
        for _ in range(RECORD_ATTEMPTS):
            current, etag = await self.read(record.purge_id)
            if (current.step, current.verified_at) != (record.step, record.verified_at):
                return current
            changed = current.model_copy(update=update)
            with suppress(PreconditionFailed):
                await self._write(changed, etag)
                return changed
        raise PreconditionFailed(record.purge_id)

    async def _write(self, record: PurgeRecord, etag: str) -> None:
        await self.tenancy.objects.put(
            object_keys.purge_key(record.purge_id), record.model_dump_json().encode(), if_match=etag
        )

    async def _open_purges(self) -> AsyncIterator[str]:
        async for key in self.tenancy.objects.keys(object_keys.PURGES_PREFIX):
            name = key.removeprefix(object_keys.PURGES_PREFIX).removesuffix(".json")
            if name.endswith(".certificate"):
                continue
            record, _ = await self.read(name)
            if record.step != "certified":
                yield name
