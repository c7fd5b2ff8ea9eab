"""Parts of the operators' tests: a tenancy in memory, a real adapter's files, and signed documents about them."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from consumers.adapters.handlers import AdaptersPorts
from consumers.purge.driver import PurgeReconciler
from consumers.purge.handlers import PurgePorts, on_purge_requested, on_tenant_churned
from consumers.purge.policy import PurgePolicy
from producers.commands.onboarding import onboard
from schemas.base.canonical import sha256_hex
from schemas.bus.events import PurgeRequested
from schemas.evidence.statements import (
    EVICTION_PREDICATE,
    PURGE_PREDICATE,
    TRAINING_PREDICATE,
    EvictionReceipt,
    KeyDestruction,
    PurgeCertificate,
    Retained,
    StoreFinding,
    TrainingManifest,
    eviction_subject,
    statement,
)
from schemas.objects import object_keys
from schemas.objects.purges import PurgeRecord, Residue, StoreCount
from schemas.objects.replicas import ReplicaAcknowledgement
from schemas.objects.state import AdapterState, RunState, TenantState
from schemas.objects.training import JobRecord, LeftOut, LeftOutExample, TrainingSet, TrainingSetEntry
from schemas.stores.registry import STORES, emptied
from schemas.tenant.hyperparameters import Hyperparameters
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.evidence.certificate_rules import EVERY_RELEASE
from tenancy.knowledge.database.connection import Database
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.gates import CLEAN
from tests.fixtures.manifests import training_manifest

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EVICTED = ReplicaAcknowledgement(
    replica_id="replica-1", outcome="evicted", at=NOW, incarnation="process-1", receipt_sha256="d" * 64
)
BASE = "a" * 64


@dataclass
class Parts:
    """A tenancy and the fakes behind its ports."""

    objects: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    publisher: RecordingPublisher = field(default_factory=RecordingPublisher)
    keys: AllKeys = field(default_factory=AllKeys.made)
    now: datetime = NOW
    tenancy: Tenancy = field(init=False)

    def __post_init__(self) -> None:
        master = KeyFileMasterKey(b"m" * 32)
        self.tenancy = assemble(self.objects, master, self.publisher, "/sanolith/test", lambda: self.now)

    def types(self) -> list[str]:
        return [event.type.removeprefix("sano.") for event in self.publisher.events]

    def stored_keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self.objects.objects if key.startswith(prefix))


def adapter_files(seed: int = 0) -> dict[str, bytes]:
    """The two files of a rank-1 adapter of one layer, as peft writes them; another seed gives other weights."""
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    header = {
        f"{name}.lora_A.weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
        f"{name}.lora_B.weight": {"dtype": "F32", "shape": [2, 1], "data_offsets": [8, 16]},
        "__metadata__": {"format": "pt"},
    }
    head = json.dumps(header).encode()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "bias": "none",
        "init_lora_weights": True,
        "r": 1,
        "lora_alpha": 2,
        "target_modules": ["q_proj"],
        "base_model_name_or_path": "tiny",
    }
    return {
        object_keys.ADAPTER_WEIGHTS: struct.pack("<Q", len(head)) + head + struct.pack("<4f", 1.0, 2.0, 3.0, seed),
        object_keys.ADAPTER_CONFIG: json.dumps(config).encode(),
    }


def manifest(tenant: str, files: dict[str, bytes], run_id: str = "run-1", **said: Any) -> TrainingManifest:
    entries = tuple(
        TrainingSetEntry(
            example_id=f"example-{number}",
            version=1,
            commitment=f"{number}" * 64,
            reviewer_id=f"reviewer-{number}",
            approval_event_id=f"approval-{number}",
            consent_id="consent-1",
            consent_event_id="granted-1",
            gate=CLEAN,
        )
        for number in range(3)
    )
    return training_manifest(
        TrainingSet(set_id="b" * 64, tenant=tenant, entries=entries),
        BASE,
        config=files[object_keys.ADAPTER_CONFIG],
        weights=files[object_keys.ADAPTER_WEIGHTS],
        at=NOW,
        run_id=run_id,
        trained_example_ids=("example-0", "example-1"),
        heldout_example_ids=("example-2",),
        train_seconds=1.0,
        trained_tokens=10,
        heldout_loss_before=2.0,
        heldout_loss_after=1.0,
        **said,
    )


def signed_manifest(signer: AllKeys, held: TrainingManifest) -> dict[str, Any]:
    subjects = {object_keys.ADAPTER_WEIGHTS: held.weights_sha256, object_keys.ADAPTER_CONFIG: held.config_sha256}
    return signer.sign(statement(TRAINING_PREDICATE, subjects, held))


async def publish_adapter(
    parts: Parts, tenant: TenantId, seed: int = 0, left_out: tuple[LeftOutExample, ...] = ()
) -> str:
    """Put a signed adapter where training leaves it, ready but not active; a higher ``seed`` is newer. Its digest."""
    run_id, files = f"run-{seed}", adapter_files(seed)
    held = manifest(tenant, files, run_id, left_out=left_out)
    store = await parts.tenancy.store(tenant)
    if left_out:
        await store.put_record(object_keys.left_out(run_id, held.fence), LeftOut(examples=left_out))
    envelope = json.dumps(signed_manifest(parts.keys, held)).encode()
    for file, body in {**files, object_keys.ADAPTER_MANIFEST: envelope}.items():
        await store.put(object_keys.adapter(held.adapter_digest, file), body)
    job = JobRecord(
        run_id=run_id,
        tenant=tenant,
        trigger="operator",
        hyperparameters=Hyperparameters(),
        request_event_id="request-1",
        requested_at=NOW,
    )
    await store.put_record(object_keys.job(run_id), job)
    adapter = AdapterState(
        status="ready",
        run_id=run_id,
        fence=1 + seed,
        training_set_id="b" * 64,
        base_model_digest=BASE,
        size_bytes=held.size_bytes,
        published_at=NOW - timedelta(minutes=seed),  # workers' clocks may say any order
    )
    run = RunState(
        status="completed",
        fence=1 + seed,
        adapter_digest=held.adapter_digest,
        requested_at=NOW + timedelta(minutes=seed),
    )

    def published(state: TenantState) -> TenantState:
        adapters = {**state.adapters, held.adapter_digest: adapter}
        return state.evolve(adapters=adapters, runs={**state.runs, run_id: run})

    await parts.tenancy.states.swap(tenant, published)
    return held.adapter_digest


def finding(store: str, medium: str, left: int = 0) -> StoreFinding:
    return StoreFinding(
        store=store,
        medium=medium,
        method="delete-versions",
        how="every version is deleted",
        outcome="empty",
        before=StoreCount(store=store, objects=1, versions=1),
        after=Residue(versions=left, delete_markers=0, uploads=0),
        probe="listed twice",
        probed_at=(NOW + timedelta(minutes=2), NOW + timedelta(minutes=4)),
    )


def purge_record(**changes: object) -> PurgeRecord:
    """A purge that has only to be certified, with one object in each store that it empties."""
    verified_at = (NOW + timedelta(minutes=2), NOW + timedelta(minutes=4))
    replica = EVICTED
    verified = PurgeRecord(
        purge_id="purge-1",
        tenant="t1",
        step="verified",
        requested_at=NOW,
        requested_by="operator",
        reason_code="churned",
        deadline=NOW + timedelta(days=30),
        sla_days=30,
        moved_at=verified_at[1],
        fenced_at=NOW,
        destruction_decided_at=NOW + timedelta(seconds=30),
        quiesced_at=NOW + timedelta(minutes=3),
        replicas=(replica.replica_id,),
        acknowledgements=(replica,),
        subcontractors=(),
        key_destroyed_at=NOW + timedelta(minutes=1),
        found=tuple(StoreCount(store=store.name, objects=1, versions=1, size_bytes=5) for store in emptied()),
        verified_at=verified_at,
    )
    return verified.evolve(**changes)


def certificate(**changes: object) -> PurgeCertificate:
    """As another release made it, under a registry of none but the stores that every release has."""
    complete = PurgeCertificate(
        certificate_id="purge-1",
        tenant="t1",
        requested_by="operator",
        reason_code="churned",
        requested_at=NOW,
        fenced_at=NOW,
        sla_days=30,
        deadline=NOW + timedelta(days=30),
        destruction_decided_at=NOW + timedelta(seconds=30),
        quiesced_at=NOW + timedelta(minutes=3),
        completed_at=NOW + timedelta(minutes=4),
        method=("erase",),
        tool="sanolith test",
        registry_sha256="e" * 64,
        performed_by="purge service",
        key_destroyed_at=NOW + timedelta(minutes=1),
        keys=(
            KeyDestruction(
                key="keys.tenant", method="erase", destroyed_at=NOW + timedelta(minutes=1), note="no copy is left"
            ),
        ),
        stores=tuple(finding(store, STORES[store].medium) for store in sorted(EVERY_RELEASE)),
        objects_removed=len(EVERY_RELEASE),
        versions_removed=len(EVERY_RELEASE),
        bytes_removed=0,
        counting_method="by listing",
        residual=0,
        verification_method="full",
        verified_at=(NOW + timedelta(minutes=2), NOW + timedelta(minutes=4)),
        replicas_found=("replica-1",),
        replicas=(EVICTED,),
        subcontractors=(),
        retained=(Retained(store="state.current", holds="tenant id", because="it refuses every later event"),),
        backups="none is made",
        topics_survive_until=NOW + timedelta(days=8),
    )
    return complete.evolve(**changes)


def signed_certificate(signer: AllKeys, held: PurgeCertificate) -> dict[str, Any]:
    subject = sha256_hex({"purge": held.certificate_id, "tenant": held.tenant})
    return signer.sign(statement(PURGE_PREDICATE, {f"tenant:{held.tenant}": subject}, held))


def signed_receipt(signer: AllKeys, *, subject: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    complete = EvictionReceipt(
        replica_id="replica-1",
        incarnation="process-1",
        tenant="t1",
        cause_id="purge-1",
        evicted=("c" * 64,),
        remaining=(),
        slots_overwritten=True,
        prefix_cache_reset=True,
        local_files_deleted=True,
        requests_aborted=0,
        evicted_at=NOW,
    )
    receipt = complete.evolve(**changes)
    about = subject or eviction_subject(receipt.replica_id, receipt.cause_id)
    return signer.sign(statement(EVICTION_PREDICATE, about, receipt))


def adapters_ports(parts: Parts) -> AdaptersPorts:
    return AdaptersPorts(parts.tenancy, parts.keys.trust, lambda: None)


def purge_ports(parts: Parts, quiesce_seconds: float = 0.0, database: Database | None = None) -> PurgePorts:
    policy = PurgePolicy(quiesce_seconds=quiesce_seconds)
    driver = PurgeReconciler(parts.tenancy, parts.keys, policy, database=database)
    return PurgePorts(parts.tenancy, parts.keys.trust, driver, lambda: None)


async def purge_to_the_end(parts: Parts) -> None:
    """What the purge consumer makes of the churn or purge event that was published last."""
    ports, event = purge_ports(parts), parts.publisher.events[-1]
    if not isinstance(event.data, PurgeRequested):
        await on_tenant_churned(event, ports)
        event = parts.publisher.events[-1]
    await on_purge_requested(event, ports)
    await ports.driver.reconcile()


async def onboarded_parts(tenant: TenantId) -> Parts:
    """Parts with one onboarded tenant, and nothing published since."""
    made = Parts()
    await onboard(made.tenancy, tenant)
    made.publisher.events.clear()
    return made
