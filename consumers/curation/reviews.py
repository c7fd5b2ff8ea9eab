"""Takes reviews, and decides once as many agree as the tenant's policy asks for.

A review may come before its proposal: it waits, as an object of its own. A decision is written into the proposal's
record, then announced. Whoever finds it there announces it again, until the example's record has it.
Reviewers of one version may disagree; then others are asked until one side has the number. An edit is a proposal of a
higher version: its record takes the place of the earlier one, whose reviews count for nothing from then on.
"""

from __future__ import annotations

from collections.abc import Iterable

from consumers.curation.records import is_decided, read_example, read_proposal, write_proposal
from schemas.bus.content import ClaimCheck, Committed
from schemas.bus.envelope import Event
from schemas.bus.events import EventData, ExampleApproved, ExampleRejected, ExampleReviewed
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.curation import ExampleRecord
from schemas.objects.proposals import Decision, ProposalRecord, ReviewRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import Contradicted, Refused
from tenancy.platform.concurrency import gathered
from tenancy.state.tenant_work import TenantWork
from tenancy.storage.tenant_store import TenantStore

NO_REASON = "no-reason"
"""Stands where a reviewer gave no code."""


async def on_example_reviewed(event: Event[ExampleReviewed], tenancy: Tenancy) -> Outcome:
    """Record one reviewer's verdict, and decide if it completes what the policy asks for."""
    data = event.data
    work = await tenancy.begin(event)
    store = work.store
    decided, _ = await read_example(store, data.example_id)
    if not await _is_recorded(store, event):
        proposal, _ = await read_proposal(store, data.example_id)
        if is_decided(decided, data.version) or _is_over(proposal, data.version):
            return Outcome.NOOP_STALE
        _require_may_review(proposal, data)
        await _record(store, event)
        is_new = True
    else:
        is_new = False
    # Only now: a proposal that was sealed in between listed the reviews before this one was there.
    proposal, etag = await read_proposal(store, data.example_id)
    if proposal is not None and proposal.version == data.version:
        is_new = await decide_if_agreed(work, proposal, etag, decided) or is_new
    return Outcome.EFFECT if is_new else Outcome.NOOP_DUPLICATE


def _is_over(proposal: ProposalRecord | None, version: int) -> bool:
    """Whether nothing more can be said of this version: a later one was proposed, or enough reviewers have agreed."""
    if proposal is None or proposal.version < version:
        return False
    return proposal.version > version or proposal.decision is not None


def _require_may_review(proposal: ProposalRecord | None, data: ExampleReviewed) -> None:
    """Raises :class:`Refused`. Of a version that was not proposed yet nothing is known: see :func:`decision_of`."""
    if proposal is None or proposal.version != data.version:
        return
    if data.commitment != proposal.commitment:
        raise Refused("commitment-mismatch", "refused: the reviewer saw another text than this version's")
    if data.reviewer_id == proposal.author_id:
        raise Refused("own-example", "refused: who wrote or edited an example does not review it")


def decision_of(
    proposal: ProposalRecord, reviews: Iterable[ReviewRecord], required: int, policy_version: int
) -> Decision | None:
    """Add up the reviews that count, in the order they were given; None while neither side has the number."""
    agreed: dict[str, list[ReviewRecord]] = {"approved": [], "rejected": []}
    for review in sorted(reviews, key=lambda review: (review.reviewed_at, review.event_id)):
        if not proposal.counts(review):
            continue
        side = agreed[review.verdict]
        side.append(review)
        if len(side) == required:
            return Decision(
                verdict=review.verdict,
                reviewer_ids=tuple(one.reviewer_id for one in side),
                reason_code=(side[0].reason_code or NO_REASON) if review.verdict == "rejected" else None,
                decided_at=review.reviewed_at,
                cause_id=review.event_id,
                policy_version=policy_version,
            )
    return None


async def decide_if_agreed(
    work: TenantWork, proposal: ProposalRecord, etag: str | None, decided: ExampleRecord | None
) -> bool:
    """Decide if enough reviewers agree, and announce the decision; whether there was anything to announce."""
    if proposal.decision is None:
        store, state = work.store, work.state
        names = [name async for name in store.list("reviews", proposal.example_id, str(proposal.version))]
        found = await gathered(store.get_record(name, ReviewRecord) for name in names)
        reviews = [review for review, _ in found]
        decision = decision_of(proposal, reviews, state.policy.reviewers_required, state.policy_version)
        if decision is None:
            return False
        proposal = proposal.evolve(decision=decision)
        await write_proposal(store, proposal, etag)
    return await announce_decision(work, proposal, decided)


async def announce_decision(work: TenantWork, proposal: ProposalRecord, decided: ExampleRecord | None) -> bool:
    """Publish the decision until the example's record has it; whether that was still to be done."""
    decision = proposal.decision
    if decision is None:
        return False
    is_known = is_decided(decided, proposal.version)
    if not is_known:
        said = _announced(proposal, decision)
        await work.outbox.publish(work.tenant, said, time=decision.decided_at, causation_id=decision.cause_id)
    await work.store.erase(proposal.mark)
    return not is_known


def _announced(proposal: ProposalRecord, decision: Decision) -> EventData:
    example_id, version, last = proposal.example_id, proposal.version, decision.reviewer_ids[-1]
    if decision.verdict == "rejected":
        return ExampleRejected(
            example_id=example_id, version=version, reviewer_id=last, reason_code=decision.reason_code or NO_REASON
        )
    return ExampleApproved(
        example_id=example_id,
        version=version,
        reviewer_id=last,
        consent_id=proposal.consent_id,
        content=Committed(reference=ClaimCheck(example_id=example_id, version=version), commitment=proposal.commitment),
        gate=proposal.gate,
    )


def _key(event: Event[ExampleReviewed]) -> str:
    data = event.data
    return object_keys.review(data.example_id, data.version, event.id)


async def _is_recorded(store: TenantStore, event: Event[ExampleReviewed]) -> bool:
    """Whether this review was recorded before. Raises :class:`Contradicted` where it said something else."""
    data = event.data
    held, _ = await store.find_record(_key(event), ReviewRecord)
    if held is None:
        return False
    if (held.verdict, held.reason_code, held.commitment) != (data.verdict, data.reason_code, data.commitment):
        raise Contradicted
    return True


async def _record(store: TenantStore, event: Event[ExampleReviewed]) -> None:
    data = event.data
    record = ReviewRecord(**data.model_dump(), event_id=event.id, reviewed_at=event.time)
    await store.put_if_absent(_key(event), record)  # or another delivery of the event wrote it in between
