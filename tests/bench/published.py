"""Puts an adapter into a tenant's prefix as a training run would: sealed files and a signed manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from schemas import object_keys
from schemas.adapter_files import config_sha256, weights_sha256
from schemas.canonical import adapter_digest
from schemas.hyperparameters import Hyperparameters
from schemas.manifests import TRAINING_PREDICATE, TrainingManifest, statement
from schemas.records import TrainingSet, TrainingSetEntry
from schemas.state import AdapterState, TenantState
from schemas.version import VERSION
from tenancy.bootstrap import Tenancy
from tenancy.signing import Signer
from tenancy.tenant_id import TenantId

EXAMPLES = 64


async def publish(tenancy: Tenancy, signer: Signer, tenant: TenantId, base_digest: str, folder: Path) -> str:
    """Publish the adapter in ``folder`` and make it the tenant's active one; its digest."""
    config = (folder / object_keys.ADAPTER_CONFIG).read_bytes()
    weights = (folder / object_keys.ADAPTER_WEIGHTS).read_bytes()
    manifest = _manifest(tenancy, tenant, base_digest, config, weights)
    digest = manifest.adapter_digest
    subjects = {
        object_keys.ADAPTER_WEIGHTS: manifest.weights_sha256,
        object_keys.ADAPTER_CONFIG: hashlib.sha256(config).hexdigest(),
    }
    envelope = signer.sign(statement(TRAINING_PREDICATE, subjects, manifest))
    (folder / object_keys.ADAPTER_MANIFEST).write_text(json.dumps(envelope))
    store = await tenancy.store(tenant)
    for file in object_keys.ADAPTER_FILES:
        await store.put_file(object_keys.adapter(digest, file), folder / file)
    (folder / object_keys.ADAPTER_MANIFEST).unlink()
    adapter = AdapterState(
        status="ready",
        run_id=manifest.run_id,
        fence=1,
        training_set_id=manifest.training_set.set_id,
        base_model_digest=base_digest,
        size_bytes=len(weights),
        published_at=tenancy.clock(),
    )

    def activated(state: TenantState) -> TenantState:
        return state.model_copy(update={"adapters": {digest: adapter}, "active_adapter": digest})

    await tenancy.states.swap(tenant, activated)
    return digest


def _manifest(tenancy: Tenancy, tenant: TenantId, base_digest: str, config: bytes, weights: bytes) -> TrainingManifest:
    now = tenancy.clock()
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
        )
        for example_id in ids
    )
    return TrainingManifest(
        tenant=tenant,
        adapter_digest=adapter_digest(
            tenant=tenant,
            base_model_digest=base_digest,
            config_sha256=config_sha256(config),
            weights_sha256=weights_sha256(weights),
        ),
        run_id="bench",
        fence=1,
        base_model="bench-base",
        base_model_digest=base_digest,
        config_sha256=config_sha256(config),
        weights_sha256=weights_sha256(weights),
        size_bytes=len(weights),
        training_set=TrainingSet(set_id=hashlib.sha256(b"set").hexdigest(), tenant=tenant, entries=entries),
        trained_example_ids=ids,
        heldout_example_ids=(),
        hyperparameters=Hyperparameters(),
        precision="bfloat16-autocast",
        library_versions={},
        code_version=VERSION,
        processor="none: the weights are random",
        started_at=now,
        finished_at=now,
        train_seconds=0.0,
        trained_tokens=0,
        heldout_loss_before=None,
        heldout_loss_after=None,
        metrics=(),
    )
