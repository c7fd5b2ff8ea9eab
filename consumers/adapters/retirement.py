"""Retiring adapters: out of the state, out of every replica, and out of the bucket."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from consumers.adapters.acknowledgements import has_acknowledged, note_acknowledgement
from consumers.adapters.closing import Affected, Closing
from consumers.adapters.erasure import Erasure
from schemas import object_keys
from schemas.withdrawals import WithdrawalRecord
from tenancy.activation import retired
from tenancy.archive import KEPT_ADAPTERS, Archive
from tenancy.bootstrap import Tenancy
from tenancy.errors import PreconditionFailed
from tenancy.replicas import Replicas
from tenancy.signing import Signer
from tenancy.store import TenantStore

REASON = "withdrawn-example"


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
    settle_seconds: float

    async def begin(self, record: WithdrawalRecord, etag: str, affected: Affected) -> None:
        """Decide to retire the affected adapters, and take them out of the state."""
        await self._retire(record, etag, affected, [d for d in affected if affected[d].status != "retired"])

    async def go_on(
        self, record: WithdrawalRecord, etag: str, affected: Affected, retired_elsewhere: frozenset[str]
    ) -> None:
        """Take a retirement that was decided as far as it goes now.

        ``retired_elsewhere``: what the tenant's other open withdrawals retire.
        """
        if record.step == "open":
            await self._take_out(record, etag, affected)
        else:
            await self._finish(record, etag, affected, retired_elsewhere)

    async def _retire(self, record: WithdrawalRecord, etag: str, affected: Affected, going: Collection[str]) -> None:
        if going:
            # What is affected is noted too: with a consent that is granted again new adapters may contain the example.
            record = record.model_copy(
                update={"step": "open", "affected": tuple(affected), "retiring": (*record.retiring, *going)}
            )
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
        retiring = record.model_copy(
            update={
                "step": "retiring",
                "affected": tuple(affected),
                "retired_at": self.tenancy.clock(),
                "replacement": state.active_adapter,
                "replicas": tuple(dict.fromkeys((*record.replicas, *found))),
            }
        )
        try:
            await self._put(retiring, etag)
        except PreconditionFailed:
            return  # another process took it further

    @property
    def erasure(self) -> Erasure:
        return Erasure(self.tenancy, self.store)

    async def _finish(
        self, record: WithdrawalRecord, etag: str, affected: Affected, retired_elsewhere: frozenset[str]
    ) -> None:
        """Erase the weights and close, once every replica is rid of them."""
        for digest in record.retiring:
            for replica in record.replicas:
                if not await self._is_rid(record, replica, digest):
                    return
        unerased = [digest for digest in record.affected if await self._lies_unerased(record, digest)]
        if not retired_elsewhere.isdisjoint(unerased):
            return  # another withdrawal retires it, and erases it once every replica is rid of it
        if unerased:
            # Retired before, and no withdrawal that is open will erase it: this one does.
            await self._retire(record, etag, affected, unerased)
            return
        if self.tenancy.clock() < (record.retired_at or record.withdrawn_at) + timedelta(seconds=self.settle_seconds):
            return  # an export that began before the retirement may still be writing
        try:
            erased = await self.erasure.erase_remaining(record, etag)
        except PreconditionFailed:
            return  # another process took it further
        if erased is None:
            return  # evicted, and kept under a legal hold
        noted, etag = erased
        closing = Closing(self.tenancy, self.store, self.signer)
        await closing.close(noted, etag, "retired", affected)

    async def _lies_unerased(self, record: WithdrawalRecord, digest: str) -> bool:
        """Whether weights lie here that this withdrawal does not erase by itself."""
        if digest in record.retiring:
            return False
        return await self.store.exists(object_keys.adapter(digest, object_keys.ADAPTER_WEIGHTS))

    async def _is_rid(self, record: WithdrawalRecord, replica: str, digest: str) -> bool:
        if await has_acknowledged(self.store, digest, replica):
            return True
        ended = await self.replicas.ended(replica, record.withdrawal_id, record.retired_at or record.withdrawn_at)
        if ended is None:
            return False
        await note_acknowledgement(self.store, digest, ended)
        return True

    async def _put(self, record: WithdrawalRecord, etag: str) -> str:
        return await self.store.put_record(object_keys.open_withdrawal(record.withdrawal_id), record, if_match=etag)
