"""Reconciles purges: advances each as far as it can go now. Any process may, at any time, again and again.

What a step did is found out by doing it again: a second sweep of an empty prefix removes nothing, a second
destruction finds no key, a second certificate is the first one. What must outlast a step's own effect (the counts,
the leases, the holds) is noted before it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from consumers.purge.audit import enter_step, signed_log
from consumers.purge.certificate import certificate
from consumers.purge.counting import sweep_ended
from consumers.purge.destruction import KEY_STORE, LEASES_STORE, Destruction, with_refusals
from consumers.purge.fence import fence
from consumers.purge.handover import Handover, waited_in_vain_until
from consumers.purge.policy import PurgePolicy
from consumers.purge.roots import states_root
from consumers.purge.sweep import Undeleted, sweep
from consumers.purge.waiting import Waiting
from schemas.base.canonical import canonical_json, sha256_hex
from schemas.bus.events import PurgeCompleted
from schemas.evidence.purposes import Purpose
from schemas.objects import object_keys
from schemas.objects.purges import PurgeRecord
from schemas.objects.replicas import ReplicaAcknowledgement
from schemas.objects.state import TenantState
from schemas.stores.registry import emptied
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, PreconditionFailed, Refused
from tenancy.evidence.certificate_rules import Contradictory
from tenancy.evidence.process_keys import ProcessKeys
from tenancy.knowledge.database.connection import Database
from tenancy.lifecycle.open_purges import OpenPurges, open_purges
from tenancy.lifecycle.purge_records import Note, PurgeRecords, updated
from tenancy.lifecycle.replicas import Replicas
from tenancy.platform.clock import between
from tenancy.platform.logs import SCOPE, error_location, trouble_logged
from tenancy.platform.settings import CLOCK_SKEW_SECONDS
from tenancy.platform.tracing import continued
from tenancy.state.legal_holds import Held, destruction_decided
from tenancy.state.open_work import Left, OpenWork, announce, everybody
from tenancy.state.registry import with_events
from tenancy.state.rounds import Rounds
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.purge")

EMPTIED = tuple(store.name for store in emptied())


def _latest(moment: datetime, *earlier: datetime | None) -> datetime:
    """``moment``; or the latest of ``earlier``, which came before, where the clock that noted it is ahead of ours.

    Clocks may differ by seconds, and pods take turns: what happened later must not read as if it came first.
    """
    return max([moment, *(one for one in earlier if one is not None)])


@dataclass
class PurgeReconciler:
    """Drives the open purges of its share of the tenants."""

    tenancy: Tenancy
    keys: ProcessKeys
    policy: PurgePolicy
    now: Callable[[], float] = time.monotonic
    owns: Callable[[TenantId], bool] = everybody
    database: Database | None = None
    records: PurgeRecords = field(init=False)
    work: OpenWork = field(init=False)

    def __post_init__(self) -> None:
        self.records = PurgeRecords(self.tenancy.objects, self.tenancy.clock)
        objects, quiesce_seconds = self.tenancy.objects, self.policy.quiesce_seconds
        self.work = OpenWork(objects, "purges", quiesce_seconds, lambda: self.now(), lambda tenant: self.owns(tenant))

    @property
    def replicas(self) -> Replicas:
        return Replicas(self.tenancy.objects, self.tenancy.clock, self.policy.replica_answer_seconds)

    @property
    def handover(self) -> Handover:
        return Handover(self.tenancy, self.keys.trust, self.records, self.policy.deadline_seconds)

    @property
    def destruction(self) -> Destruction:
        return Destruction(self.tenancy, self.database)

    async def reconcile(self) -> None:
        """Take every purge that is not certified as far as it goes."""
        await self.work.reconcile(self._look_at)

    async def sweep(self) -> None:
        """The round over all tenants: announces purges that no marker names, and drops indexes that should be none."""
        tenants = await Rounds(self.tenancy.states, "purges", self.tenancy.clock).take()
        with trouble_logged(logger, "indexes not looked for"):
            await self.destruction.index.drop_unwanted(tenants)
        for tenant in tenants:
            with trouble_logged(logger, "purges not looked for"):
                if (await self._found(tenant)).is_any:
                    await announce(self.tenancy.objects, "purges", tenant)

    async def _look_at(self, tenant: TenantId) -> Left:
        """Drive one tenant's purges and return what the look found; the next look sees what it finished itself."""
        try:
            found = await self._found(tenant)
        except Exception as error:
            logger.error("purges not looked for", extra={"error": error_location(error)})
            return "something"
        for record in found.opened:
            await self.try_to_advance(record.tenant, record.purge_id)
        return "something" if found.is_any else "nothing"

    async def _found(self, tenant: TenantId) -> OpenPurges:
        found = await open_purges(self.records, tenant)
        for name, error in found.unreadable.items():
            logger.error("purge record not read", extra={"purge_id": name, "error": error_location(error)})
        return found

    async def try_to_advance(self, tenant: str, purge_id: str) -> None:
        """:meth:`advance`, for a caller with more purges behind this one: what stops it is logged."""
        try:
            await self.advance(tenant, purge_id)
        except Waiting as waiting:
            logger.info("purge waits", extra={"purge_id": purge_id, "reason": str(waiting)})
        except Exception as error:
            # One purge that fails must not hold up those listed behind it; the next look tries it again.
            logger.error("purge failed", extra={"purge_id": purge_id, "error": error_location(error)})

    async def advance(self, tenant: str, purge_id: str) -> None:
        """Take one purge to its end. Raises :class:`Waiting` where that must wait, and :class:`ObjectNotFound`."""
        record = await self.records.read(tenant, purge_id)
        with continued(record.traceparent):
            await (self._take_further(record) if record.dead_letter is None else self._await_command(record))

    async def _take_further(self, current: PurgeRecord) -> None:
        record: PurgeRecord | None = current
        steps = {
            "requested": self.fence,
            "fenced": self._hand_over,
            "exported": self.handover.await_pickup,
            "acknowledged": self._shred,
            "shredded": self._evicted,
            "evicted": self._delete,
            "deleted": self._verify,
            "verified": self._certify,
        }
        if current.step != "requested" and current.destruction_decided_at is None:
            record = await self._with_holds(current)
        while record is not None and record.step != "certified":
            # Before the next step is taken: who goes on after a crash finds the step that was reached and enters it.
            await enter_step(record, self.tenancy)
            record = await steps[record.step](record)
            if record is not None:
                logger.info("purge step", extra={"purge_id": record.purge_id, "step": record.step})

    async def _await_command(self, record: PurgeRecord) -> None:
        """A command that was not accepted fences nobody; once another one did, there is nothing left to wait for."""
        purge = (await self.tenancy.states.read(TenantId(record.tenant))).state.purge
        if purge is None:
            raise Waiting(f"what asked for it is a dead letter ({record.dead_letter})")
        if purge.purge_id != record.purge_id:  # else it was accepted since, and the next look takes it up
            await self.records.remove(record)

    async def fence(self, record: PurgeRecord) -> PurgeRecord | None:
        """Fence the tenant for this purge; None where another purge did."""
        return await fence(record, self.tenancy, self.records, self.replicas, self.policy)

    async def acknowledge(
        self, tenant: str, purge_id: str, acknowledgement: ReplicaAcknowledgement, receipt: dict[str, Any] | None = None
    ) -> bool:
        """Note the acknowledgement of a replica that the purge waits for, and what it signed. False when there is none
        to wait for.

        A replica that started after the fence acknowledges too, when it reads the topic from its beginning. One that is
        fast acknowledges before the record says whom the fence found: that is kept until it does.
        Raises :class:`ObjectNotFound`.
        """

        def note(record: PurgeRecord) -> PurgeRecord:
            known = {noted.replica_id for noted in record.acknowledgements}
            is_awaited = record.step == "requested" or acknowledgement.replica_id in record.replicas
            if acknowledgement.replica_id in known or not is_awaited:
                return record
            earliest = (record.fenced_at or record.requested_at) - timedelta(seconds=CLOCK_SKEW_SECONDS)
            noted = acknowledgement.evolve(at=between(acknowledgement.at, earliest, now))
            receipts = record.receipts if receipt is None else {**record.receipts, noted.replica_id: receipt}
            return record.evolve(acknowledgements=(*record.acknowledgements, noted), receipts=receipts)

        now = self.tenancy.clock()
        return (await self.records.note(tenant, purge_id, note))[1]

    async def _hand_over(self, record: PurgeRecord) -> PurgeRecord:
        if record.export is None or record.export.adapter_digest is None:
            return await self._shred(record)
        return await self.handover.offer(record)

    async def _shred(self, record: PurgeRecord) -> PurgeRecord:
        tenant, step = TenantId(record.tenant), record.step
        record = await self._prepared(await self._decided(record))
        if record.step != step:
            return record  # somebody else was faster; the time of the key's end is theirs
        kept = await self.destruction.destroy_key(tenant)
        if not kept:
            now = self.tenancy.clock()
            destroyed = updated(step="shredded", key_destroyed_at=_latest(now, record.destruction_decided_at))
            return await self.records.move(
                record, lambda current: with_refusals(destroyed(current), {}, (KEY_STORE,), now)
            )
        # The destruction is decided: what the key seals need not stay as long as the key does.
        raise await self._partial(record, {**await self.destruction.sweep(record, self.records), **kept})

    async def _decided(self, record: PurgeRecord) -> PurgeRecord:
        """Pass the point of no return. A hold is looked for in the same swap, so that none can come in between."""
        tenant = TenantId(record.tenant)
        change = destruction_decided(record.purge_id, _latest(self.tenancy.clock(), waited_in_vain_until(record)))
        try:
            state = (await self.tenancy.outbox.swap(tenant, change)).state
        except Held:
            await self._with_holds(record)
            raise Waiting("a legal hold is open") from None
        decided_at = state.purge.destruction_decided_at if state.purge else None
        return await self.records.step(record, holds=state.holds, destruction_decided_at=decided_at)

    async def _with_holds(self, record: PurgeRecord) -> PurgeRecord:
        """Show the holds as they are, also while the purge waits for something else: what decides is the state."""
        holds = (await self.tenancy.states.read(TenantId(record.tenant))).state.holds
        return await self.records.step(record, holds=holds)

    async def _prepared(self, record: PurgeRecord) -> PurgeRecord:
        """Note what there is of the key, and which leases must end, while both can still be found out."""
        if record.is_prepared or record.fenced_at is None or record.quiesced_at is None:
            return record
        try:
            found, through = await self.destruction.key_found(record.tenant)
        except Refused as refused:
            raise await self._partial(record, {KEY_STORE: (refused.code, 0)}) from None
        try:
            longest = await self.destruction.longest_lease(TenantId(record.tenant))
        except Refused as refused:
            raise await self._partial(record, {LEASES_STORE: (refused.code, 0)}) from None
        quiesced_at = record.quiesced_at
        if longest is not None:
            # Twice: a renewal may have read the state right before the fence, and its holder's last write may come
            # right before its new end.
            seconds = longest + 2 * self.policy.late_write_seconds
            quiesced_at = max(quiesced_at, record.fenced_at + timedelta(seconds=seconds))
        now = self.tenancy.clock()
        if record.export is not None:
            # Another process may hang over the export that this purge wrote itself, long after the fence.
            quiesced_at = max(quiesced_at, now + timedelta(seconds=self.policy.quiesce_seconds))

        def note(current: PurgeRecord) -> PurgeRecord:
            if current.is_prepared:  # by somebody who may have destroyed the key since
                return current
            update = {"longest_lease_seconds": longest, "quiesced_at": quiesced_at, "sweeps": 0}
            return current.evolve(**update, found=found, counted_through=through)

        return await self.records.move(record, note)

    async def _evicted(self, record: PurgeRecord) -> PurgeRecord:
        """Every replica has evicted, or cannot renew its lease any more and serves nothing."""
        noted = {acknowledgement.replica_id for acknowledgement in record.acknowledgements}
        waits_for = []
        for replica in record.replicas:
            if replica in noted:
                continue
            since = record.fenced_at or record.requested_at
            expired = await self.replicas.ended(replica, record.purge_id, since, record.incarnations.get(replica))
            if expired is None:
                waits_for.append(replica)
            else:
                await self.acknowledge(record.tenant, record.purge_id, expired)
        if waits_for:
            raise Waiting(f"replica {', '.join(waits_for)} has not acknowledged")
        return await self.records.step(record, step="evicted")

    async def _delete(self, record: PurgeRecord) -> PurgeRecord:
        record = await self._swept(record)
        return await self.records.move(record, self._let_go(sweep_ended(record.sweeps, step="deleted")))

    async def _swept(self, record: PurgeRecord) -> PurgeRecord:
        """Raises :class:`Waiting` while any store keeps something back."""
        kept = await self.destruction.sweep(record, self.records)
        left = {} if kept else await self.destruction.left(record.tenant)
        if left and not record.sweeps:
            # Written behind the listing, most likely, by somebody who was alive at the fence: the next sweep counts it
            # as late. Once: of a store that lists what it has removed, counts would never end.
            return await self._swept(await self.records.move(record, sweep_ended(record.sweeps)))
        if kept or left:
            raise await self._partial(record, kept or left)
        return record

    async def _partial(self, record: PurgeRecord, kept: Undeleted) -> Waiting:
        # Not of a record that another process took further: that one found nothing kept.
        now = self.tenancy.clock()
        await self.records.move(record, lambda current: with_refusals(current, kept, EMPTIED, now))
        return Waiting(f"kept by {', '.join(f'{store} ({code})' for store, (code, _) in sorted(kept.items()))}")

    def _let_go(self, change: Note) -> Note:
        """``change``, which relies on stores that were listed empty, and that no store keeps anything back any more. In
        one swap: another process may find in between that one does.
        """
        now = self.tenancy.clock()

        def let_go(current: PurgeRecord) -> PurgeRecord:
            changed = change(current)
            return current if changed is current else with_refusals(changed, {}, EMPTIED, now)

        return let_go

    async def _verify(self, record: PurgeRecord) -> PurgeRecord:
        """List empty twice: now, and again once no writer that was alive at the fence can still write.

        What such a writer left is sealed under the key that is gone; it is swept all the same, and the listing
        starts over.
        """
        # Before the listing: what is written while it runs, it may have passed by.
        now = self.tenancy.clock()
        if await self.destruction.left(record.tenant):
            record = await self._swept(record)
            return await self.records.move(record, self._let_go(sweep_ended(record.sweeps, verified_at=())))
        if not record.verified_at:
            first = _latest(now, record.key_destroyed_at)
            return await self.records.move(record, self._let_go(updated(verified_at=(first,))))
        if record.quiesced_at is None or now < record.quiesced_at:
            raise Waiting("a writer that was alive at the fence may still write")
        if record.unconfirmed and record.confirmations_until is not None and now < record.confirmations_until:
            raise Waiting(f"subcontractor {', '.join(record.unconfirmed)} has not confirmed")
        signed = await signed_log(TenantId(record.tenant), self.tenancy, self.keys)
        both = (record.verified_at[0], _latest(now, record.verified_at[0], record.quiesced_at))
        verified = updated(step="verified", verified_at=both, audit_checkpoint=signed)
        return await self.records.move(record, self._let_go(verified))

    async def _certify(self, record: PurgeRecord) -> PurgeRecord:
        envelope = await self._signed(record)
        completed = PurgeCompleted(
            purge_id=record.purge_id,
            objects_removed=record.objects_removed,
            residual=0,
            certificate_sha256=sha256_hex(envelope),
        )

        def purged(state: TenantState) -> TenantState:
            if state.status != "purging":
                return state
            done = state.evolve(status="purged")
            return with_events(done, self.tenancy.outbox.entry(completed))

        tenant = TenantId(record.tenant)
        await self.tenancy.outbox.swap(tenant, purged)
        # The swaps of the purge itself left superseded states behind.
        await sweep(self.tenancy.objects, states_root(tenant))
        return await self.records.step(record, step="certified", uncertifiable=())

    async def _signed(self, record: PurgeRecord) -> dict[str, Any]:
        """The stored certificate. Raises :class:`Waiting` where it would contradict itself: nothing is signed then.

        The first one stands, whoever made it. It need not be the one that would be made now: the version, the registry
        of stores and the key can have changed since, and of some keys no two signatures are the same.
        """
        location = object_keys.certificate_key(record.tenant, record.purge_id)
        try:
            envelope = await self.keys.signer(Purpose.CERTIFICATE).signed(certificate(record))
            await self.tenancy.objects.put(location, canonical_json(envelope), if_absent=True)
        except (PreconditionFailed, Contradictory) as error:
            with suppress(ObjectNotFound):
                return dict(json.loads((await self.tenancy.objects.get(location)).body))
            if isinstance(error, Contradictory):
                names = tuple(rule.name for rule in error.rules)
                await self.records.step(record, uncertifiable=names)
                logger.error("purge not certified", extra={"purge_id": record.purge_id, "rules": names})
                raise Waiting("its certificate would contradict itself") from None
            raise
        return envelope
