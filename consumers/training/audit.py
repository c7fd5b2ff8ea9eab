"""Builds the audit record of a frozen training set. No event tells of it: the set exists only inside an attempt."""

from __future__ import annotations

from datetime import datetime

from consumers.training.freeze import FrozenSet
from schemas.base.canonical import sha256_hex
from schemas.bus.envelope import event_id
from schemas.bus.redaction import gate_version
from schemas.evidence.audit import Actor
from schemas.objects.training import JobRecord
from schemas.version import VERSION
from tenancy.audit.log import AuditRecord

FROZEN = "training_set.frozen"


def frozen_record(
    job: JobRecord, fence: int, policy_version: int, frozen: FrozenSet, base_model_digest: str, now: datetime
) -> AuditRecord:
    """Which set an attempt trains on, with which code, settings, policy and base model. One for each fence."""
    gate = frozen.training_set.entries[0].gate  # one gate has judged them all
    return AuditRecord(
        occurrence=event_id(FROZEN, job.tenant, f"{job.run_id}|{fence}"),
        kind=FROZEN,
        time=now,
        actor=Actor(role="service", id="training"),
        facts={
            "run_id": job.run_id,
            "fence": fence,
            "policy_version": policy_version,
            "training_set_id": frozen.training_set.set_id,
            "examples": len(frozen.training_set.entries),
            "left_out": len(frozen.left_out),
            "ineligible": len(frozen.ineligible),
            "gate": gate_version(gate),
            "base_model_digest": base_model_digest,
            "hyperparameters_sha256": sha256_hex(job.hyperparameters.model_dump(mode="json")),
            "seed": job.hyperparameters.seed,
            "code_version": VERSION,
        },
    )
