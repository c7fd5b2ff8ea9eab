"""Shows reviewers what is proposed: the queue without any text, and one example with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from pydantic import Field

from producers.queries.parts import part_of
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

LOOKED_AT = 500
"""Proposals that one request reads before it answers that it found none so far."""
AT_A_TIME = 10


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


@dataclass(frozen=True)
class QueuePart:
    """Some of what waits, the oldest first. ``following``: the place behind which more is marked; None at the end."""

    views: list[ProposalView]
    following: str | None


@dataclass(frozen=True)
class ReviewQueue:
    """What waits for a tenant's reviewers, the oldest first. A part costs what it holds, however much waits."""

    store: TenantStore
    required: int

    @classmethod
    async def of(cls, tenancy: Tenancy, tenant: TenantId) -> Self:
        """Raises :class:`UnknownTenant` and :class:`TenantFenced`."""
        required = (await tenancy.active(tenant)).state.policy.reviewers_required
        return cls(await tenancy.store(tenant), required)

    async def part(self, behind: str = "", most: int | None = None) -> QueuePart:
        """What is marked behind a place, at most so many, of which some may be over. A place is a mark's time and
        example: see :func:`object_keys.open_proposal`.
        """
        start = f"{object_keys.OPEN_PROPOSALS}{behind}" if behind else ""
        part = await part_of(self.store.list("proposals", "open", after=start), most)
        ids = dict.fromkeys(_place(name).partition("/")[2] for name in part.names)
        found = await gathered(_open_proposal(self.store, example_id) for example_id in ids)
        views = await gathered(_view(self.store, record, self.required) for record in found if record is not None)
        return QueuePart(views, part.following and _place(part.following))

    async def place_of(self, example_id: str) -> str:
        """Where the example's latest version is or was in the queue; the front where there never was one."""
        record, _ = await self.store.find_record(object_keys.proposal(example_id), ProposalRecord)
        return _place(record.mark) if record is not None else ""

    async def first(self, behind: str, is_wanted: Callable[[ProposalView], bool]) -> ProposalView | str | None:
        """The first one behind a place that is wanted, or None; or the place where :data:`LOOKED_AT` were not."""
        for _ in range(LOOKED_AT // AT_A_TIME):
            part = await self.part(behind, AT_A_TIME)
            wanted = next(filter(is_wanted, part.views), None)
            if wanted is not None or part.following is None:
                return wanted
            behind = part.following
        return behind


def _place(mark: str) -> str:
    return mark.removeprefix(object_keys.OPEN_PROPOSALS)


async def open_proposals(tenancy: Tenancy, tenant: TenantId) -> list[ProposalView]:
    """All that waits for reviewers, the oldest first. Raises :class:`UnknownTenant` and :class:`TenantFenced`."""
    return (await (await ReviewQueue.of(tenancy, tenant)).part()).views


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
