"""Shows reviewers what is proposed: the queue without any text, and one example with it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, Sha256Hex
from schemas.base.redaction import GateVersion
from schemas.bus.content import ChatMessage, ExampleContent
from schemas.bus.redaction import SpanCount
from schemas.objects import object_keys
from schemas.objects.curation import ExampleRecord
from schemas.objects.proposals import ProposalRecord, ProposedBy, ReviewRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.platform.concurrency import gathered
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId


class ProposalView(Contract):
    """A proposed example that waits for reviewers."""

    example_id: OpaqueId
    version: int
    source: ProposedBy
    proposed_at: datetime
    author_id: OpaqueId | None
    consent_id: OpaqueId | None
    redacted: tuple[SpanCount, ...] = Field(description="or, of source freeze, still found in the text")
    gate: str
    gate_version: GateVersion
    approvals: int
    rejections: int
    reviewer_ids: tuple[OpaqueId, ...]
    reviewers_required: int
    commitment: Sha256Hex


class ProposedText(Contract):
    """A proposed example with its text, for a reviewer's eyes."""

    proposal: ProposalView
    messages: tuple[ChatMessage, ...]


async def open_proposals(tenancy: Tenancy, tenant: TenantId) -> list[ProposalView]:
    """What waits for reviewers, the oldest first. Raises :class:`UnknownTenant` and :class:`TenantFenced`."""
    required = (await tenancy.active(tenant)).state.policy.reviewers_required
    store = await tenancy.store(tenant)
    ids = [name.rpartition("/")[2] async for name in store.list("proposals", "open")]
    found = await gathered(_open_proposal(store, example_id) for example_id in ids)
    views = await gathered(_view(store, record, required) for record in found if record is not None)
    return sorted(views, key=lambda view: (view.proposed_at, view.example_id))


async def proposed_text(tenancy: Tenancy, tenant: TenantId, example_id: str) -> ProposedText:
    """One of them with its text. Raises :class:`Refused` where the example does not wait for reviewers."""
    required = (await tenancy.active(tenant)).state.policy.reviewers_required
    store = await tenancy.store(tenant)
    record = await _open_proposal(store, example_id)
    if record is None:
        raise _not_open()
    content, _ = await store.find_record(object_keys.content(example_id, record.version), ExampleContent)
    if content is None:  # decided, and its text erased, in between
        raise _not_open()
    return ProposedText(proposal=await _view(store, record, required), messages=content.messages)


def _not_open() -> Refused:
    return Refused("not-open", "refused: no such example waits for reviewers; `sano review list` shows those that do")


async def _open_proposal(store: TenantStore, example_id: str) -> ProposalRecord | None:
    """None where it is decided, here or by others, or withdrawn: a mark may outlive what it stands for."""
    record, _ = await store.find_record(object_keys.proposal(example_id), ProposalRecord)
    if record is None or record.decision is not None:
        return None
    decided, _ = await store.find_record(object_keys.example(example_id), ExampleRecord)
    return None if decided is not None and decided.decides(record.version) else record


async def _view(store: TenantStore, record: ProposalRecord, required: int) -> ProposalView:
    names = [name async for name in store.list("reviews", record.example_id, str(record.version))]
    found = await gathered(store.get_record(name, ReviewRecord) for name in names)
    reviews = [review for review, _ in found if record.counts(review)]
    verdicts = [review.verdict for review in reviews]
    return ProposalView(
        example_id=record.example_id,
        version=record.version,
        source=record.source,
        proposed_at=record.proposed_at,
        author_id=record.author_id,
        consent_id=record.consent_id,
        redacted=record.redaction.counts,
        gate=record.gate.gate,
        gate_version=record.gate.version,
        approvals=verdicts.count("approved"),
        rejections=verdicts.count("rejected"),
        reviewer_ids=tuple(sorted(review.reviewer_id for review in reviews)),
        reviewers_required=required,
        commitment=record.commitment,
    )
