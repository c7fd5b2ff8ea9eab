"""Signs audit logs with checkpoints, each chained to the one before; any number of signers may run at once.

A checkpoint is one object under the next number, created if absent. The loser of that race continues from the
winner's. So does a signer that finds a checkpoint which the head does not name, because its signer died first or the
head was lost; that checkpoint may be by an earlier key for audit logs, or by a later one than this process has.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from schemas.base.canonical import canonical_json
from schemas.base.contract import read_tolerant
from schemas.base.json_text import parse_json
from schemas.evidence.audit import CHECKPOINT_PREDICATE, AuditCheckpoint, AuditHead, CheckpointRef, body_sha256, genesis
from schemas.evidence.purposes import Purpose
from schemas.evidence.statements import statement
from schemas.objects import object_keys
from tenancy.audit.log import AuditLog, Hint
from tenancy.errors import AuditBroken, BadSignature, ObjectNotFound, PreconditionFailed
from tenancy.evidence.envelopes import unverified
from tenancy.evidence.process_keys import ProcessKeys
from tenancy.platform.settings import CLOCK_SKEW_SECONDS
from tenancy.tenant_id import TenantId

CLOCKS_APART = timedelta(seconds=CLOCK_SKEW_SECONDS)


@dataclass(frozen=True)
class Checkpointer:
    """Signs the ends of audit logs."""

    log: AuditLog
    keys: ProcessKeys

    async def seal(self, tenant: TenantId, hint: Hint | None = None) -> CheckpointRef | None:
        """Sign everything that is entered now, unless it is signed; the latest checkpoint, None for an empty log.

        Five requests, two of them writes; two reads when everything is signed. ``hint``: to sign what is entered up to
        there, by the two writes alone. Raises :class:`AuditBroken`, also where the next checkpoint is there and does
        not follow, and :class:`BadSignature` where it is there and was signed by no key of the trust file, or by one
        that had been replaced before.
        """
        head, etag = hint or await self.log.caught_up_head(tenant)
        latest = head.checkpoint
        while head.seq > (latest.seq if latest else 0):
            latest = await self._next(tenant, latest, head)
        if latest is None or latest == head.checkpoint:
            return latest

        def named(held: AuditHead) -> AuditHead:
            if held.checkpoint is not None and held.checkpoint.number >= latest.number:
                return held
            return held.evolve(checkpoint=latest)

        await self.log.rewrite_head(tenant, head, etag, named)
        return latest

    async def latest(self, tenant: TenantId) -> dict[str, Any] | None:
        """The envelope of the latest checkpoint that the head names; None where it names none.

        Raises :class:`AuditBroken`.
        """
        head = await self.log.head(tenant)
        return None if head is None or head.checkpoint is None else await self.envelope(tenant, head.checkpoint)

    async def envelope(self, tenant: TenantId, named: CheckpointRef) -> dict[str, Any]:
        """The envelope of one checkpoint, which holds what ``named`` says of it. Its signature, which may be by any
        earlier key, is not checked. Raises :class:`AuditBroken`.
        """
        what = f"checkpoint {named.number}"
        try:
            body = (await self.log.objects.get(object_keys.audit_checkpoint(tenant, named.number))).body
        except ObjectNotFound:
            raise AuditBroken(what) from None
        envelope, said = _opened(body, what)
        if (said.tenant, said.number, said.seq, body_sha256(body)) != (tenant, named.number, named.seq, named.sha256):
            raise AuditBroken(what)
        return envelope

    async def _next(self, tenant: TenantId, latest: CheckpointRef | None, head: AuditHead) -> CheckpointRef:
        """The checkpoint after ``latest``: a new one about ``head``, or the one that is there already."""
        made = AuditCheckpoint(
            tenant=tenant,
            number=(latest.number if latest else 0) + 1,
            seq=head.seq,
            entry_sha256=head.entry_sha256,
            previous=latest.sha256 if latest else genesis(tenant),
            signed_at=self.log.clock(),
        )
        subject = {f"audit:{tenant}": made.entry_sha256}
        signed = await self.keys.signer(Purpose.AUDIT).signed(statement(CHECKPOINT_PREDICATE, subject, made))
        body = canonical_json(signed)
        key = object_keys.audit_checkpoint(tenant, made.number)
        try:
            await self.log.objects.put(key, body, if_absent=True)
        except PreconditionFailed:
            body = (await self.log.objects.get(key)).body  # nobody erases a checkpoint
            made = await self._followed(tenant, latest, made, body)
        return CheckpointRef(number=made.number, seq=made.seq, sha256=body_sha256(body))

    async def _said(self, tenant: TenantId, named: CheckpointRef) -> AuditCheckpoint:
        return read_tolerant(AuditCheckpoint, unverified(await self.envelope(tenant, named))["predicate"])

    async def _followed(
        self, tenant: TenantId, latest: CheckpointRef | None, made: AuditCheckpoint, body: bytes
    ) -> AuditCheckpoint:
        """The checkpoint that is in the place of ``made``, once it is one to go on from."""
        what = f"checkpoint {made.number}"
        envelope, found = _opened(body, what)
        try:
            self.keys.trust.verify(envelope, CHECKPOINT_PREDICATE)
        except BadSignature as refusal:
            why = str(refusal).removeprefix("refused: ")
            raise BadSignature(f"{what} of the tenant's audit log does not hold: {why}") from None
        # While a key is replaced some processes sign with either. Who stole the old one must date what it signs back,
        # to before the key's end; and what follows a later checkpoint cannot be older than that.
        if latest is not None and is_dated_back(found, await self._said(tenant, latest)):
            raise BadSignature(f"{what} of the tenant's audit log is dated back behind the one that it follows")
        if (found.tenant, found.number, found.previous) != (tenant, made.number, made.previous):
            raise AuditBroken(what)
        if latest is not None and found.seq <= latest.seq:
            raise AuditBroken(what)
        return found


def _opened(body: bytes, what: str) -> tuple[dict[str, Any], AuditCheckpoint]:
    """The envelope of a checkpoint and what it says, whoever signed it. Raises :class:`AuditBroken`."""
    try:
        envelope: dict[str, Any] = parse_json(body)
        return envelope, read_tolerant(AuditCheckpoint, unverified(envelope)["predicate"])
    except (ValueError, KeyError):
        raise AuditBroken(what) from None


def is_dated_back(later: AuditCheckpoint, earlier: AuditCheckpoint) -> bool:
    """Whether a checkpoint says that it was signed before the one that it follows, by clocks that may be apart."""
    return later.signed_at + CLOCKS_APART < earlier.signed_at
