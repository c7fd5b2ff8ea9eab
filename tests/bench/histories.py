"""Tenants with a past: stored examples, and what the tenant's state holds after so many approvals."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from schemas.bus.content import ChatMessage, ClaimCheck, Committed, ExampleContent
from schemas.bus.envelope import Event
from schemas.bus.events import ConsentGranted, ExampleApproved
from schemas.objects import object_keys
from schemas.objects.curation import ConsentRecord, ExampleRecord
from schemas.objects.state import AdapterState, CurationState, FreshExample, RunState, TenantState
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.tenant_id import TenantId

CONSENT = "consent-1"
REVIEWER = "reviewer-1"


async def onboarded(tenancy: Tenancy, name: str, policy: TenantPolicy, **state: Any) -> TenantId:
    """A tenant with keys, a granted consent, and a state in which the fields ``state`` are set."""
    tenant = TenantId(name)
    await tenancy.keys.create(tenant)
    await tenancy.states.create(TenantState(tenant=tenant, nonce=secrets.token_hex(8), policy=policy, **state))
    granted = Event(
        subject=tenant,
        data=ConsentGranted(consent_id=CONSENT, version=1),
        time=tenancy.clock(),
        source="/sanolith/bench",
    )
    consent = ConsentRecord(consent_id=CONSENT, version=1, granted=True, event_id=granted.id, decided_at=granted.time)
    store = await tenancy.store(tenant)
    await store.put_record(object_keys.consent(CONSENT), consent)
    return tenant


def content(example_id: str) -> ExampleContent:
    return ExampleContent(
        messages=(
            ChatMessage(role="user", content=f"Which dose does the house rule give for case {example_id}?"),
            ChatMessage(role="assistant", content=f"The dose of house rule {example_id}, after the weight is checked."),
        ),
        salt=secrets.token_hex(32),
    )


def approval(
    tenancy: Tenancy, tenant: TenantId, example_id: str, held: ExampleContent, version: int = 1
) -> Event[ExampleApproved]:
    """The event that approves content which lies in the tenant's prefix."""
    data = ExampleApproved(
        example_id=example_id,
        version=version,
        reviewer_id=REVIEWER,
        consent_id=CONSENT,
        content=Committed(reference=ClaimCheck(example_id=example_id, version=version), commitment=held.commitment()),
    )
    return Event(subject=tenant, data=data, time=tenancy.clock(), source="/sanolith/bench")


async def uploaded(tenancy: Tenancy, tenant: TenantId, example_id: str, version: int = 1) -> Event[ExampleApproved]:
    """The event of an approval that is about to be handled; its content is uploaded."""
    held = content(example_id)
    store = await tenancy.store(tenant)
    await store.put_record(object_keys.content(example_id, version), held)
    return approval(tenancy, tenant, example_id, held, version)


async def stored(tenancy: Tenancy, tenant: TenantId, count: int) -> None:
    """``count`` examples as approvals leave them: a sealed record and sealed content each."""
    store = await tenancy.store(tenant)
    for number in range(count):
        example_id = f"stored-{number}"
        held = content(example_id)
        event = approval(tenancy, tenant, example_id, held)
        record = ExampleRecord(
            example_id=example_id,
            version=1,
            status="approved",
            decided_at=event.time,
            event_id=event.id,
            reviewer_id=REVIEWER,
            consent_id=CONSENT,
            commitment=held.commitment(),
        )
        await store.put_record(object_keys.example(example_id), record)
        await store.put_record(object_keys.content(example_id, 1), held)


def after_batches(tenancy: Tenancy, batches: int) -> dict[str, Any]:
    """The fields of a state whose tenant has had ``batches`` batches trained and each adapter activated."""
    now = tenancy.clock()
    runs, adapters, base = {}, {}, hashlib.sha256(b"base").hexdigest()
    for number in range(1, batches + 1):
        digest = hashlib.sha256(f"adapter {number}".encode()).hexdigest()
        set_id = hashlib.sha256(f"set {number}".encode()).hexdigest()
        runs[f"batch-{number}"] = RunState(
            status="completed",
            attempts=1,
            fence=number,
            training_set_id=set_id,
            adapter_digest=digest,
            requested_at=now,
            trained_tokens=10_000,
            train_seconds=50.0,
        )
        adapters[digest] = AdapterState(
            status="ready",
            run_id=f"batch-{number}",
            fence=number,
            training_set_id=set_id,
            base_model_digest=base,
            size_bytes=20_000_000,
            published_at=now,
        )
    digests = tuple(adapters)
    return {
        "runs": runs,
        "adapters": adapters,
        "adapter_history": digests[:-1],
        "active_adapter": digests[-1] if digests else None,
        "activations": batches,
        "fence": batches,
        "curation": CurationState(batches=batches),
    }


def approved_by_hand(count: int, batch: int) -> dict[str, Any]:
    """The fields of a state whose tenant asks for its trainings itself, after ``count`` approvals."""
    ids = [f"stored-{number}" for number in range(count)]
    batches = count // batch
    counted = [FreshExample(example_id=held, version=1, consent_id=CONSENT) for held in ids]
    recent = tuple(counted[max(0, batches - 1) * batch : batches * batch])
    return {"curation": CurationState(fresh=tuple(counted[batches * batch :]), recent=recent, batches=batches)}
