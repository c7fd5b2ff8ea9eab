"""Signing the audit logs: checkpoints, each chained to the one before, any number of signers at once.

A checkpoint is one object under the next number, created if absent. Who loses that race goes on from the winner's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from schemas import object_keys
from schemas.audit import (
    CHECKPOINT_PREDICATE,
    AuditCheckpoint,
    AuditHead,
    CheckpointRef,
    body_sha256,
    genesis,
)
from schemas.canonical import canonical_json
from schemas.manifests import statement
from schemas.model import read_tolerant
from tenancy.audit import AuditLog
from tenancy.errors import BadSignature, PreconditionFailed
from tenancy.signing import Signer
from tenancy.tenant_id import TenantId


@dataclass(frozen=True)
class Checkpointer:
    """Signs the ends of audit logs."""

    log: AuditLog
    signer: Signer

    async def seal(self, tenant: TenantId) -> CheckpointRef | None:
        """Sign everything that is entered now, unless it is signed; the latest checkpoint, None for an empty log.

        Five requests, two of them writes; two reads when everything is signed. Raises :class:`BadSignature` when the
        next checkpoint is there and was not signed by this installation.
        """
        head, etag = await self.log.settled_head(tenant)
        latest = head.checkpoint
        while head.seq > (latest.seq if latest else 0):
            latest = await self._next(tenant, latest, head)
        if latest is None or latest == head.checkpoint:
            return latest

        def named(held: AuditHead) -> AuditHead:
            if held.checkpoint is not None and held.checkpoint.number >= latest.number:
                return held
            return held.model_copy(update={"checkpoint": latest})

        await self.log.rewrite_head(tenant, head, etag, named)
        return latest

    async def _next(self, tenant: TenantId, latest: CheckpointRef | None, head: AuditHead) -> CheckpointRef:
        """The checkpoint after ``latest``: a new one about ``head``, or the one that another signer made meanwhile."""
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
            body = (await self.log.objects.get(key)).body
            signed = self.signer.verifier.verify(json.loads(body), CHECKPOINT_PREDICATE)
            made = read_tolerant(AuditCheckpoint, signed["predicate"])
            if made.tenant != tenant:
                raise BadSignature("the checkpoint is another tenant's") from None
        return CheckpointRef(number=made.number, seq=made.seq, sha256=body_sha256(body))
