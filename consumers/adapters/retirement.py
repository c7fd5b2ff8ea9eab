"""Retiring adapters: out of the state, out of every replica, out of the bucket, and a signed receipt about it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from consumers.adapters.erasure import Erasure
from consumers.runtime.telemetry import SCOPE
from consumers.runtime.unaudited import held_up_by_no_log
from schemas import object_keys
from schemas.audit import Actor
from schemas.canonical import sha256_hex
from schemas.envelope import event_id
from schemas.manifests import WITHDRAWAL_PREDICATE, statement
from schemas.records import ReplicaAcknowledgement
from schemas.state import AdapterState
from schemas.withdrawals import RetiredAdapter, WithdrawalOutcome, WithdrawalReceipt, WithdrawalRecord
from tenancy.activation import retired
from tenancy.archive import KEPT_ADAPTERS, Archive
from tenancy.audit import AuditRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, PreconditionFailed
from tenancy.replicas import Replicas
from tenancy.signing import Signer
from tenancy.store import TenantStore

logger = logging.getLogger(f"{SCOPE}.adapters")

REASON = "withdrawn-example"
CLOSED = "withdrawal.closed"

Affected = Mapping[str, AdapterState]


@dataclass(frozen=True)
class Retirement:
    """The retirement of the adapters that one withdrawal of one tenant affects."""

    tenancy: Tenancy
    store: TenantStore
    signer: Signer
    replicas: Replicas
    settle_seconds: float

    async def begin(self, record: WithdrawalRecord, etag: str, affected: Affected) -> None:
        """Take the adapters out of the state, then note which replicas must be rid of them.

        The replicas are listed after the swap: one that is not in the list yet reads a state that has them retired.
        A crash in between lists them again. The record then moves by compare-and-swap.
        """
        going = record.retiring or tuple(d for d, adapter in affected.items() if adapter.status != "retired")
        relative = object_keys.open_withdrawal(record.withdrawal_id)
        try:
            if going != record.retiring:
                # Before the swap: after it nobody could tell what this withdrawal retired from what was before.
                record = record.model_copy(update={"retiring": going})
                etag = await self.store.put_record(relative, record, if_match=etag)
            await self._retire({digest: affected[digest] for digest in going})
            state = (await self.tenancy.active(self.store.tenant)).state
            retiring = record.model_copy(
                update={
                    "step": "retiring",
                    "affected": tuple(affected),
                    "retired_at": self.tenancy.clock(),
                    "replacement": state.active_adapter,
                    "replicas": tuple([replica async for replica in self.replicas.answerable()]) if going else (),
                }
            )
            await self.store.put_record(relative, retiring, if_match=etag)
        except PreconditionFailed:
            return  # another process took it further

    async def _retire(self, going: Affected) -> None:
        digests = list(going)
        for start in range(0, len(digests), KEPT_ADAPTERS):
            some = {digest: going[digest] for digest in digests[start : start + KEPT_ADAPTERS]}
            await self.tenancy.outbox.swap(self.store.tenant, retired(some, REASON, self.tenancy.outbox.entry))
            # What was archived came back in to be retired; it must not stay, or the state grows with the past.
            await Archive(self.store).tidy(self.tenancy.states)

    @property
    def erasure(self) -> Erasure:
        return Erasure(self.tenancy, self.store)

    async def finish(self, record: WithdrawalRecord, etag: str, affected: Affected) -> bool:
        """Erase the weights and close, once every replica is rid of them; False as long as that must wait."""
        for digest in record.retiring:
            for replica in record.replicas:
                if not await self._is_rid(record, replica, digest):
                    return False
        for digest in set(record.affected) - set(record.retiring):
            if await self.store.exists(object_keys.adapter(digest, object_keys.ADAPTER_WEIGHTS)):
                return False  # another withdrawal retires it, and erases it once every replica is rid of it
        if self.tenancy.clock() < (record.retired_at or record.withdrawn_at) + timedelta(seconds=self.settle_seconds):
            return False  # an export that began before the retirement may still be writing
        try:
            erased = await self.erasure.erase_remaining(record, etag)
        except PreconditionFailed:
            return False  # another process took it further
        if erased is None:
            return False  # evicted, and kept under a legal hold
        await self.close(erased[0], "retired", {digest: affected[digest] for digest in record.affected})
        return True

    async def close(self, record: WithdrawalRecord, outcome: WithdrawalOutcome, affected: Affected) -> None:
        """Sign the receipt and close the withdrawal. The first receipt stands, whoever wrote it.

        A log that does not take the entry keeps no withdrawal open: what it asked for is done, and the receipt says so.
        """
        closed = record.model_copy(
            update={
                "step": "closed",
                "outcome": outcome,
                "affected": tuple(affected),
                "closed_at": self.tenancy.clock(),
            }
        )
        receipt = await self._receipt(closed, affected)
        subject = {f"withdrawal:{record.withdrawal_id}": sha256_hex({"withdrawal": record.withdrawal_id})}
        signed = self.signer.sign(statement(WITHDRAWAL_PREDICATE, subject, receipt))
        with suppress(PreconditionFailed):
            await self.store.put(
                object_keys.withdrawal_receipt(record.withdrawal_id), json.dumps(signed).encode(), if_absent=True
            )
        with held_up_by_no_log(logger, "withdrawal not audited"):
            await self.tenancy.audit.append(self.store.tenant, _entry(self.store.tenant, closed))
        with suppress(PreconditionFailed):
            await self.store.put_record(object_keys.closed_withdrawal(record.withdrawal_id), closed, if_absent=True)
        await self.store.erase(object_keys.open_withdrawal(record.withdrawal_id))

    async def _receipt(self, closed: WithdrawalRecord, affected: Affected) -> WithdrawalReceipt:
        adapters = []
        for digest, adapter in affected.items():
            noted = [await self._acknowledgement(digest, replica) for replica in closed.replicas]
            adapters.append(
                RetiredAdapter(
                    adapter_digest=digest,
                    run_id=adapter.run_id,
                    training_set_id=adapter.training_set_id,
                    replicas=tuple(one for one in noted if one is not None),
                )
            )
        return WithdrawalReceipt(
            tenant=self.store.tenant,
            affected=tuple(adapters),
            weights_erased=closed.outcome == "retired",
            **closed.model_dump(include=_COPIED),
        )

    async def _is_rid(self, record: WithdrawalRecord, replica: str, digest: str) -> bool:
        if await self._acknowledgement(digest, replica) is not None:
            return True
        ended = await self.replicas.ended(replica, record.withdrawal_id, record.retired_at or record.withdrawn_at)
        if ended is None:
            return False
        await note_acknowledgement(self.store, digest, ended)
        return True

    async def _acknowledgement(self, digest: str, replica: str) -> ReplicaAcknowledgement | None:
        try:
            relative = object_keys.retirement_acknowledgement(digest, replica)
            return (await self.store.get_record(relative, ReplicaAcknowledgement))[0]
        except ObjectNotFound:
            return None


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


async def note_acknowledgement(store: TenantStore, digest: str, acknowledgement: ReplicaAcknowledgement) -> bool:
    """Keep how a replica left a retired adapter; False when that was known. The first word stands."""
    try:
        await store.put_record(
            object_keys.retirement_acknowledgement(digest, acknowledgement.replica_id),
            acknowledgement,
            if_absent=True,
        )
    except PreconditionFailed:
        return False
    return True
