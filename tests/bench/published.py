"""Puts an adapter into a tenant's prefix as a training run would: sealed files and a signed manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

from schemas.evidence.statements import TRAINING_PREDICATE, TrainingManifest, statement
from schemas.objects import object_keys
from schemas.objects.state import AdapterState, TenantState
from schemas.objects.training import TrainingSet, TrainingSetEntry
from schemas.version import VERSION
from tenancy.bootstrap import Tenancy
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import CLEAN
from tests.fixtures.manifests import training_manifest

EXAMPLES = 64


class Signs(Protocol):
    """The training service's key, or a test that has every key."""

    def sign(self, statement: dict[str, Any]) -> dict[str, Any]: ...


async def publish(tenancy: Tenancy, signer: Signs, tenant: TenantId, base_digest: str, folder: Path) -> str:
    """Publish the adapter in ``folder`` and make it the tenant's active one; its digest."""
    config = (folder / object_keys.ADAPTER_CONFIG).read_bytes()
    weights = (folder / object_keys.ADAPTER_WEIGHTS).read_bytes()
    digest, adapter = await put_adapter(tenancy, signer, tenant, base_digest, config, weights)

    def activated(state: TenantState) -> TenantState:
        return state.evolve(adapters={digest: adapter}, active_adapter=digest)

    await tenancy.states.swap(tenant, activated)
    return digest


async def put_adapter(
    tenancy: Tenancy, signer: Signs, tenant: TenantId, base_digest: str, config: bytes, weights: bytes
) -> tuple[str, AdapterState]:
    """Put the adapter's three objects where a training run leaves them; its digest, and what the state says of it."""
    manifest = _manifest(tenancy, tenant, base_digest, config, weights)
    digest = manifest.adapter_digest
    subjects = {
        object_keys.ADAPTER_WEIGHTS: manifest.weights_sha256,
        object_keys.ADAPTER_CONFIG: hashlib.sha256(config).hexdigest(),
    }
    envelope = signer.sign(statement(TRAINING_PREDICATE, subjects, manifest))
    bodies = {
        object_keys.ADAPTER_WEIGHTS: weights,
        object_keys.ADAPTER_CONFIG: config,
        object_keys.ADAPTER_MANIFEST: json.dumps(envelope).encode(),
    }
    store = await tenancy.store(tenant)
    for name, body in bodies.items():
        await store.put(object_keys.adapter(digest, name), body)
    adapter = AdapterState(
        status="ready",
        run_id=manifest.run_id,
        fence=1,
        training_set_id=manifest.training_set.set_id,
        base_model_digest=base_digest,
        size_bytes=len(weights),
        published_at=tenancy.clock(),
    )
    return digest, adapter


def _manifest(tenancy: Tenancy, tenant: TenantId, base_digest: str, config: bytes, weights: bytes) -> TrainingManifest:
    ids = tuple(f"example-{number}" for number in range(EXAMPLES))
    entries = tuple(
        TrainingSetEntry(
            example_id=example_id,
            version=1,
            commitment=hashlib.sha256(example_id.encode()).hexdigest(),
            reviewer_id="reviewer-1",
            approval_event_id=f"approval-{example_id}",
            consent_id="consent-1",
            consent_event_id="grant-1",
            gate=CLEAN,
        )
        for example_id in ids
    )
    return training_manifest(
        TrainingSet(set_id=hashlib.sha256(b"set").hexdigest(), tenant=tenant, entries=entries),
        base_digest,
        config=config,
        weights=weights,
        at=tenancy.clock(),
        run_id="bench",
        base_model="bench-base",
        precision="bfloat16-autocast",
        code_version=VERSION,
        processor="none: the weights are random",
    )
