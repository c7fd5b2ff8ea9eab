"""Erases the weights of retired adapters: decides by one swap that no open hold allows, deletes, then strikes out.

From the decision on a digest is in the tenant's state, until its weights are gone from everywhere. A hold is a swap of
the same state: it comes before the decision, and the weights stay, or it is told which ones it came too late for. A
process that dies in between leaves the digest in the state, and the next look erases what was decided, hold or not.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from consumers.runtime.audit_failures import audit_failure_logged
from schemas.bus.envelope import event_id
from schemas.evidence.audit import Actor
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from schemas.objects.withdrawals import WithdrawalRecord
from tenancy.audit.log import AuditRecord
from tenancy.bootstrap import Tenancy
from tenancy.lifecycle.exports import erase_export_weights, export_decision
from tenancy.platform.logs import SCOPE
from tenancy.state.legal_holds import Held, erasure_decided, erasure_done
from tenancy.storage.tenant_store import TenantStore

logger = logging.getLogger(f"{SCOPE}.adapters")

DECIDED = "adapter.erasure_decided"
ERASED_AT_ONCE = 16
"""Of one withdrawal. What is decided is in the state, which must stay small."""


@dataclass(frozen=True)
class Erasure:
    """Erases weights of one tenant's adapters. Every method may be called again at any time, by any process."""

    tenancy: Tenancy
    store: TenantStore

    async def erase(
        self, record: WithdrawalRecord, etag: str, some: Collection[str]
    ) -> tuple[WithdrawalRecord, str] | None:
        """Erase some of what the withdrawal retires and note it in its record; None while a hold is open.

        Raises :class:`PreconditionFailed` where another process took the record further.
        """
        try:
            await self.tenancy.states.swap(self.store.tenant, erasure_decided(some))
        except Held:
            return None
        await self._erase(some)
        # Noted before it is struck out: who finds neither would have to decide again, and could be held.
        record = record.evolve(erased=(*record.erased, *some))
        etag = await self.store.put_record(object_keys.open_withdrawal(record.withdrawal_id), record, if_match=etag)
        await self.tenancy.states.swap(self.store.tenant, erasure_done(some))
        return record, etag

    async def strike_out(self, state: TenantState, opened: Iterable[WithdrawalRecord]) -> None:
        """End the erasures that no open withdrawal will end any more. A process died, or was slower than another."""
        expected = {digest for record in opened for digest in not_erased(record)}
        over = tuple(digest for digest in state.erasures if digest not in expected)
        if over:
            await self._erase(over)
            await self.tenancy.states.swap(self.store.tenant, erasure_done(over))

    async def _erase(self, digests: Collection[str]) -> None:
        for digest in digests:
            await self._enter(digest)
        for digest in digests:
            for file in object_keys.ADAPTER_MODEL_FILES:
                await self.store.erase(object_keys.adapter(digest, file))
        exports = dict.fromkeys([relative.split("/")[1] async for relative in self.store.list("exports")])
        for export_id in exports:
            decision = await export_decision(self.store, export_id)
            if decision is not None and decision.adapter_digest in digests:
                await erase_export_weights(self.store, export_id)

    async def _enter(self, digest: str) -> None:
        """Into the audit log, before it is done. A log that does not take it holds up no erasure."""
        entry = AuditRecord(
            occurrence=event_id(DECIDED, self.store.tenant, digest),
            kind=DECIDED,
            time=self.tenancy.clock(),
            actor=Actor(role="service", id="adapters"),
            facts={"adapter_digest": digest},
        )
        with audit_failure_logged(logger, "erasure not audited"):
            await self.tenancy.audit.append(self.store.tenant, entry, is_repeated=True)


def not_erased(record: WithdrawalRecord) -> tuple[str, ...]:
    """What the withdrawal retires and has not erased yet, in its order."""
    return tuple(digest for digest in record.retiring if digest not in record.erased)
