"""Closes withdrawals: decides each outcome once, then signs it, enters it into the audit log, and puts it away."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from consumers.adapters.acknowledgements import acknowledgements
from consumers.runtime.audit_failures import audit_failure_logged
from schemas.bus.envelope import event_id
from schemas.evidence.audit import Actor
from schemas.evidence.statements import WITHDRAWAL_PREDICATE, statement
from schemas.objects import object_keys
from schemas.objects.replicas import ReplicaAcknowledgement
from schemas.objects.state import AdapterState
from schemas.objects.withdrawals import (
    RetiredAdapter,
    WithdrawalOutcome,
    WithdrawalReceipt,
    WithdrawalRecord,
    withdrawal_subject,
)
from tenancy.audit.log import AuditRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import PreconditionFailed
from tenancy.evidence.signer import Signer
from tenancy.platform.logs import SCOPE
from tenancy.storage.tenant_store import TenantStore

logger = logging.getLogger(f"{SCOPE}.adapters")

CLOSED = "withdrawal.closed"

Affected = Mapping[str, AdapterState]
Left = Mapping[str, tuple[ReplicaAcknowledgement, ...]]


@dataclass(frozen=True)
class Closing:
    """The end of withdrawals of one tenant."""

    tenancy: Tenancy
    store: TenantStore
    signer: Signer

    async def close(self, record: WithdrawalRecord, etag: str, outcome: WithdrawalOutcome, affected: Affected) -> None:
        """Decide what became of the withdrawal, unless another process took it further, and sign that.

        Nothing is signed before the record says it: a process that goes by another answer about the consent loses the
        swap, and does what the record says.
        """
        closing = record.evolve(
            step="closing",
            outcome=outcome,
            affected=tuple(affected),
            closed_at=self.tenancy.clock(),
        )
        try:
            await self.store.put_record(object_keys.open_withdrawal(record.withdrawal_id), closing, if_match=etag)
        except PreconditionFailed:
            return
        await self.seal(closing, affected, await self.collected(closing))

    async def collected(self, closing: WithdrawalRecord) -> Left:
        """How the replicas left what was retired: for very many it may take longer than a step of the reconciler."""
        return await acknowledgements(self.store, closing.affected) if closing.outcome == "retired" else {}

    async def seal(self, closing: WithdrawalRecord, affected: Affected, left: Left) -> None:
        """Sign what was decided and put the record away. Any process may, again and again: the first receipt stands."""
        closed = closing.evolve(step="closed", affected=tuple(affected))
        receipt = self._receipt(closed, affected, left)
        subject = withdrawal_subject(closed.withdrawal_id)
        signed = await self.signer.signed(statement(WITHDRAWAL_PREDICATE, subject, receipt))
        with suppress(PreconditionFailed):
            await self.store.put(
                object_keys.withdrawal_receipt(closed.withdrawal_id), json.dumps(signed).encode(), if_absent=True
            )
        # A log that does not take the entry keeps no withdrawal open: what it asked for is done, as the receipt says.
        with audit_failure_logged(logger, "withdrawal not audited"):
            await self.tenancy.audit.append(self.store.tenant, _entry(self.store.tenant, closed))
        await self.store.put_if_absent(object_keys.closed_withdrawal(closed.withdrawal_id), closed)
        # Every change of the open record names the version that was read, and none is made of one that is closing.
        await self.store.erase(object_keys.open_withdrawal(closed.withdrawal_id))

    def _receipt(self, closed: WithdrawalRecord, affected: Affected, left: Left) -> WithdrawalReceipt:
        return WithdrawalReceipt(
            tenant=self.store.tenant,
            affected=tuple(_adapter(closed, digest, affected[digest], left) for digest in closed.affected),
            weights_erased=closed.outcome == "retired",
            **closed.model_dump(include=_COPIED),
        )


def _adapter(closed: WithdrawalRecord, digest: str, adapter: AdapterState, left: Left) -> RetiredAdapter:
    """The adapter, and what was collected about it. Where an earlier withdrawal retired it, that one waited for every
    replica that it had found before the weights were erased.
    """
    of = RetiredAdapter(
        adapter_digest=digest,
        run_id=adapter.run_id,
        training_set_id=adapter.training_set_id,
    )
    if closed.outcome != "retired":
        return of
    found = {noted.replica_id for noted in left[digest]}.union(closed.replicas if digest in closed.retiring else ())
    return of.evolve(
        retired_at=adapter.retired_at,
        replicas_found=tuple(sorted(found)),
        replicas=left[digest],
    )


def _entry(tenant: str, closed: WithdrawalRecord) -> AuditRecord:
    """What the audit log says; which example it was is told by the entry of the event that withdrew it."""
    facts: dict[str, str | int] = {
        "outcome": str(closed.outcome),
        "adapters": len(closed.affected),
        "replicas": len(closed.replicas),
    }
    if closed.replacement is not None:
        facts["adapter_digest"] = closed.replacement
    return AuditRecord(
        occurrence=event_id(CLOSED, tenant, closed.withdrawal_id),
        kind=CLOSED,
        time=closed.closed_at or closed.withdrawn_at,
        actor=Actor(role="service", id="adapters"),
        facts=facts,
    )


_COPIED = {
    "withdrawal_id",
    "example_id",
    "consent_id",
    "withdrawn_at",
    "outcome",
    "retired_at",
    "replacement",
    "deadline",
    "closed_at",
}
