"""Reads the signed manifest of a published adapter."""

from __future__ import annotations

from schemas.evidence.statements import TrainingManifest
from schemas.objects import object_keys
from tenancy.errors import ObjectNotFound, Refused
from tenancy.evidence.training_manifest import open_training_manifest, require_own
from tenancy.evidence.trust import Verifier
from tenancy.storage.tenant_store import TenantStore


async def published_manifest(store: TenantStore, digest: str, verifier: Verifier) -> TrainingManifest:
    """Read and check it.

    Raises :class:`Refused` when the tenant has no such adapter, and :class:`BadSignature` when the manifest was not
    signed by this installation or speaks of another adapter.
    """
    try:
        body, _ = await store.get(object_keys.adapter(digest, object_keys.ADAPTER_MANIFEST))
    except ObjectNotFound:
        raise Refused("unknown-adapter", "refused: the tenant has no published adapter of this digest") from None
    manifest = open_training_manifest(verifier, body)
    require_own(manifest, store.tenant, digest)
    return manifest
