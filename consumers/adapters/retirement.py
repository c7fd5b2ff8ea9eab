"""Retires adapters: removes them from the state, then from every replica, then from the bucket."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain

from consumers.adapters.acknowledgements import acknowledged_by, note_acknowledgement
from consumers.adapters.closing import Affected, Closing
from consumers.adapters.erasure import ERASED_AT_ONCE, Erasure, not_erased
from schemas.objects import object_keys
from schemas.objects.replicas import ReplicaAcknowledgement
from schemas.objects.withdrawals import WithdrawalRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import PreconditionFailed
from tenancy.evidence.signer import Signer
from tenancy.lifecycle.replicas import Replicas
from tenancy.platform.concurrency import gathered
from tenancy.state.activation import retired
from tenancy.state.archive import KEPT_ADAPTERS, Archive
from tenancy.storage.tenant_store import TenantStore

REASON = "withdrawn-example"

Ended = dict[str, ReplicaAcknowledgement | None]
"""How each replica is over, or None for one that may still serve."""


@dataclass(frozen=True)
class Retirement:
    """The retirement of the adapters that one withdrawal of one tenant affects.

    Its point of no return is the note in the withdrawal's record of what it retires. A process that died after it, or
    after the swap of the state behind it, is followed by one that goes on from the note, whatever the consent says by
    then: a consent that is granted again meets the note, or the withdrawal's closing, at one swap of the record.
    """

    tenancy: Tenancy
    store: TenantStore
    signer: Signer
    replicas: Replicas
    quiesce_seconds: float

    async def begin(self, record: WithdrawalRecord, etag: str, affected: Affected) -> None:
        """Decide to retire the affected adapters, and take them out of the state."""
        await self._retire(record, etag, affected, [d for d in affected if affected[d].status != "retired"])

    async def go_on(
        self,
        record: WithdrawalRecord,
        etag: str,
        affected: Affected,
        retired_elsewhere: frozenset[str],
    ) -> None:
        """Take a retirement that was decided as far as it goes now: erase the weights of each adapter that every
        replica is rid of, some at a time, and close once all are erased.

        ``retired_elsewhere``: what the tenant's other open withdrawals retire.
        """
        if record.step == "open":
            await self._take_out(record, etag, affected)
            return
        unerased = await self._left_by_others(record, affected)
        if unerased and retired_elsewhere.isdisjoint(unerased):
            # Retired, and no withdrawal that is open will erase it: this one does.
            await self._retire(record, etag, affected, unerased)
            return
        # What another withdrawal retires is erased by that one. An export that began before the retirement may still
        # be writing until it has settled.
        quiesced_at = (record.retired_at or record.withdrawn_at) + timedelta(seconds=self.quiesce_seconds)
        may_erase = not unerased and self.tenancy.clock() >= quiesced_at
        ended: Ended = {}
        remaining = not_erased(record)
        for start in range(0, len(remaining), ERASED_AT_ONCE):
            some = await self._rid_of(record, remaining[start : start + ERASED_AT_ONCE], ended)
            if not (some and may_erase):
                continue  # the ends of replicas are noted all the same
            try:
                erased = await self.erasure.erase(record, etag, some)
            except PreconditionFailed:
                return  # another process took it further
            if erased is None:
                may_erase = False  # evicted, and kept under a legal hold
            else:
                record, etag = erased
        if not may_erase or not_erased(record):
            return
        if len(await self._rid_of(record, record.retiring, ended)) < len(record.retiring):
            return  # a replica was found since some of them were erased
        closing = Closing(self.tenancy, self.store, self.signer)
        await closing.close(record, etag, "retired", affected)

    async def _retire(self, record: WithdrawalRecord, etag: str, affected: Affected, going: Collection[str]) -> None:
        if going:
            # What is affected is noted too: with a consent that is granted again new adapters may contain the example.
            record = record.evolve(step="open", affected=tuple(affected), retiring=(*record.retiring, *going))
            try:
                etag = await self._put(record, etag)
            except PreconditionFailed:
                return  # another process took it further, or closed it
        await self._take_out(record, etag, affected)

    async def _take_out(self, record: WithdrawalRecord, etag: str, affected: Affected) -> None:
        """Out of the state by swaps, then note which replicas must be rid of them.

        The replicas are listed after the swaps: one that is not in the list yet reads a state that has them retired.
        A crash in between lists them again. The record then moves by compare-and-swap.
        """
        for start in range(0, len(record.retiring), KEPT_ADAPTERS):
            going = record.retiring[start : start + KEPT_ADAPTERS]
            some = {digest: affected[digest] for digest in going if digest in affected}
            change = retired(some, REASON, self.tenancy.outbox.entry, to_follow=record.retiring)
            await self.tenancy.outbox.swap(self.store.tenant, change)
            # What was archived came back in to be retired; it must not stay, or the state grows with the past.
            await Archive(self.store).tidy(self.tenancy.states)
        state = (await self.tenancy.active(self.store.tenant)).state
        found = [replica async for replica in self.replicas.answerable()] if record.retiring else []
        # Those of now: an earlier look's may have ended before what is retired since was out of the state.
        incarnations = await self.replicas.incarnations(found)
        retiring = record.evolve(
            step="retiring",
            affected=tuple(affected),
            retired_at=self.tenancy.clock(),
            replacement=state.active_adapter,
            replicas=tuple(dict.fromkeys((*record.replicas, *found))),
            incarnations=incarnations,
        )
        try:
            await self._put(retiring, etag)
        except PreconditionFailed:
            return  # another process took it further

    @property
    def erasure(self) -> Erasure:
        return Erasure(self.tenancy, self.store)

    async def _left_by_others(self, record: WithdrawalRecord, affected: Affected) -> list[str]:
        """What is affected and not retired, or has its weights here still, and this withdrawal does not retire yet."""

        async def is_left(digest: str) -> bool:
            if affected[digest].status != "retired":
                return True
            return await self.store.exists(object_keys.adapter(digest, object_keys.ADAPTER_WEIGHTS))

        others = [digest for digest in affected if digest not in record.retiring]
        found = zip(others, await gathered(is_left(digest) for digest in others), strict=True)
        return [digest for digest, is_left_here in found if is_left_here]

    async def _rid_of(self, record: WithdrawalRecord, digests: Collection[str], ended: Ended) -> list[str]:
        """Which of these adapters every replica is rid of; the end of a replica that is over is noted for each.

        ``ended`` keeps what was found of replicas in this look.
        """
        noted = await acknowledged_by(self.store, digests)
        missing = {digest: [one for one in record.replicas if one not in noted[digest]] for digest in digests}
        asked = [one for one in dict.fromkeys(chain.from_iterable(missing.values())) if one not in ended]
        since = record.retired_at or record.withdrawn_at
        found = await gathered(
            self.replicas.ended(one, record.withdrawal_id, since, record.incarnations.get(one)) for one in asked
        )
        ended.update(zip(asked, found, strict=True))
        over = [(digest, end) for digest in digests for one in missing[digest] if (end := ended[one]) is not None]
        await gathered(note_acknowledgement(self.store, digest, end) for digest, end in over)
        return [digest for digest in digests if all(ended[one] is not None for one in missing[digest])]

    async def _put(self, record: WithdrawalRecord, etag: str) -> str:
        return await self.store.put_record(object_keys.open_withdrawal(record.withdrawal_id), record, if_match=etag)
