"""Signs audit logs with checkpoints, each chained to the one before; any number of signers may run at once.

A checkpoint is one object under the next number, created if absent. The loser of that race continues from the
winner's. So does a signer that finds a checkpoint which the head does not name, because its signer died first or the
head was lost; that checkpoint may be by an earlier key of the installation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schemas.base.canonical import canonical_json
from schemas.base.contract import read_tolerant
from schemas.base.json_text import parse_json
from schemas.evidence.audit import CHECKPOINT_PREDICATE, AuditCheckpoint, AuditHead, CheckpointRef, body_sha256, genesis
from schemas.evidence.statements import statement
from schemas.objects import object_keys
from tenancy.audit.log import AuditLog
from tenancy.errors import AuditBroken, BadSignature, ObjectNotFound, PreconditionFailed
from tenancy.evidence.signing import Signer, Verifier, unverified
from tenancy.tenant_id import TenantId


@dataclass(frozen=True)
class Checkpointer:
    """Signs the ends of audit logs."""

    log: AuditLog
    signer: Signer

    async def seal(self, tenant: TenantId) -> CheckpointRef | None:
        """Sign everything that is entered now, unless it is signed; the latest checkpoint, None for an empty log.

        Five requests, two of them writes; two reads when everything is signed. Raises :class:`AuditBroken`, also where
        the next checkpoint is there and does not follow, and :class:`BadSignature` where it is there and was signed
        by no key of this installation, or by one that was replaced before.
        """
        head, etag = await self.log.caught_up_head(tenant)
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
        body = canonical_json(self.signer.sign(statement(CHECKPOINT_PREDICATE, subject, made)))
        key = object_keys.audit_checkpoint(tenant, made.number)
        try:
            await self.log.objects.put(key, body, if_absent=True)
        except PreconditionFailed:
            body = (await self.log.objects.get(key)).body  # nobody erases a checkpoint
            made = await self._followed(tenant, latest, made, body)
        return CheckpointRef(number=made.number, seq=made.seq, sha256=body_sha256(body))

    async def _followed(
        self, tenant: TenantId, latest: CheckpointRef | None, made: AuditCheckpoint, body: bytes
    ) -> AuditCheckpoint:
        """The checkpoint that is in the place of ``made``, once it is one to go on from."""
        what = f"checkpoint {made.number}"
        envelope, found = _opened(body, what)
        if not _is_signed(envelope, self.signer.verifier):
            if not any(_is_signed(envelope, earlier) for earlier in self.signer.earlier):
                raise BadSignature(
                    f"{what} of the tenant's audit log is by no key that is known here; where it is an earlier key of "
                    "the installation, name its public half in SANO_EARLIER_VERIFY_KEY_FILES"
                )
            # A signer that died before the change of the key leaves one. After it, only who stole the old key does.
            if latest is not None and _is_signed(await self.envelope(tenant, latest), self.signer.verifier):
                raise BadSignature(f"{what} of the tenant's audit log is by a key that was replaced before")
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


def _is_signed(envelope: dict[str, Any], verifier: Verifier) -> bool:
    try:
        verifier.verify(envelope, CHECKPOINT_PREDICATE)
    except BadSignature:
        return False
    return True
