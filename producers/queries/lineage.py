"""Traces an adapter's digest to the run, the training set, and each example with who and what allowed it."""

from __future__ import annotations

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, Sha256Hex, TenantName
from schemas.bus.redaction import GateVerdict
from schemas.objects import object_keys
from schemas.objects.training import JobRecord, LeftOutExample
from schemas.tenant.hyperparameters import Hyperparameters
from tenancy.bootstrap import Tenancy
from tenancy.evidence.trust import Verifier
from tenancy.lifecycle.manifests import published_manifest
from tenancy.tenant_id import TenantId


class LineageExample(Contract):
    """One example of the set: what was used, and the events that allowed it."""

    example_id: OpaqueId
    version: int
    role: str
    reviewer_id: OpaqueId
    approval_event_id: OpaqueId
    consent_id: OpaqueId | None
    consent_event_id: OpaqueId | None
    commitment: Sha256Hex
    stated_by: OpaqueId | None = Field(description="operator who states that it was reviewed elsewhere")
    approval_gate: GateVerdict | None = Field(description="as it was approved; absent: no gate of ours had seen it")
    gate: GateVerdict = Field(description="when the set was frozen")


class Lineage(Contract):
    """Everything that made an adapter, and what was left out. It exists only where the manifest's signature and digests
    were right.
    """

    tenant: TenantName
    adapter_digest: Sha256Hex
    signature_verified: bool
    run_id: OpaqueId
    trigger: str
    request_event_id: OpaqueId
    base_model: str
    base_model_digest: Sha256Hex
    training_set_id: Sha256Hex
    hyperparameters: Hyperparameters
    policy_version: int
    code_version: str
    heldout_loss_before: float | None
    heldout_loss_after: float | None
    examples: tuple[LineageExample, ...]
    left_out: tuple[LeftOutExample, ...]
    ineligible: tuple[LeftOutExample, ...]


async def lineage(tenancy: Tenancy, tenant: TenantId, digest: str, verifier: Verifier) -> Lineage:
    """Read and check the adapter's manifest.

    Raises :class:`Refused` when the tenant has no such adapter, :class:`BadSignature` when the manifest was not
    signed by this installation or speaks of another adapter, and :class:`KeyDestroyed` after a purge.
    """
    store = await tenancy.store(tenant)
    manifest = await published_manifest(store, digest, verifier)
    job, _ = await store.get_record(object_keys.job(manifest.run_id), JobRecord)
    roles = manifest.roles()
    return Lineage(
        tenant=tenant,
        adapter_digest=digest,
        signature_verified=True,
        run_id=manifest.run_id,
        trigger=job.trigger,
        request_event_id=job.request_event_id,
        base_model=manifest.base_model,
        base_model_digest=manifest.base_model_digest,
        training_set_id=manifest.training_set.set_id,
        hyperparameters=manifest.hyperparameters,
        policy_version=manifest.policy_version,
        code_version=manifest.code_version,
        heldout_loss_before=manifest.heldout_loss_before,
        heldout_loss_after=manifest.heldout_loss_after,
        examples=tuple(
            LineageExample(role=roles[entry.example_id], **entry.model_dump())
            for entry in manifest.training_set.entries
        ),
        left_out=manifest.left_out,
        ineligible=manifest.ineligible,
    )
