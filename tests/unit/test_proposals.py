"""Proposals and reviews: opened, judged again, sealed, and decided as the policy says, whatever comes again or when."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.curation.records import read_example, read_proposal
from producers.commands.policies import set_policy
from producers.commands.reviewing import review
from producers.queries.proposals import open_proposals, proposed_text
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from schemas.objects.terms import Term
from tenancy.errors import Contradicted, Refused, SealBroken, StoreUnavailable, TenantFenced
from tenancy.lifecycle.terms import change_terms
from tenancy.redaction.at_first_use import AtFirstUse
from tenancy.redaction.port import RedactionGate
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import GATE, NAME
from tests.unit.operator_parts import onboarded_parts, purge_to_the_end
from tests.unit.proposal_parts import Review, content

TENANT = TenantId("t1")


async def reviewing(required: int = 1, **policy: Any) -> Review:
    parts = await onboarded_parts(TENANT)
    changes = {"reviewers_required": required, "require_consent": False, **policy}
    await set_policy(parts.tenancy, TENANT, changes)
    parts.publisher.events.clear()
    return Review(parts, TENANT)


async def status(held: Review, example_id: str = "e1") -> tuple[str, int] | None:
    record, _ = await read_example(await held.parts.tenancy.store(TENANT), example_id)
    return (record.status, record.version) if record else None


async def eligible(held: Review) -> list[str]:
    fresh = (await held.parts.tenancy.states.read(TENANT)).state.curation.fresh
    return [f"{example.example_id} {example.version}" for example in fresh]


async def test_a_proposal_that_a_reviewer_approves_is_eligible_in_exactly_that_text() -> None:
    held, text = await reviewing(), content()
    proposed = await held.proposed(text=text)
    assert await held.handle(proposed) == [Outcome.EFFECT]
    assert (await status(held), await eligible(held)) == (None, [])
    [view] = await open_proposals(held.parts.tenancy, TENANT)
    assert (view.example_id, view.approvals, view.reviewers_required) == ("e1", 0, 1)
    assert (await proposed_text(held.parts.tenancy, TENANT, "e1")).messages == text.messages
    assert await held.handle(held.reviewed(proposed, "rev-1")) == [Outcome.EFFECT]
    assert (await status(held), await eligible(held)) == (("approved", 1), ["e1 1"])
    record, _ = await read_example(await held.parts.tenancy.store(TENANT), "e1")
    assert record is not None
    assert record.gate is not None
    assert (record.commitment, record.gate.gate, record.gate.verdict) == (text.commitment(), "test-gate", "clean")
    assert await open_proposals(held.parts.tenancy, TENANT) == []


async def test_a_text_in_which_the_gate_still_finds_an_identifier_is_sealed_nowhere_and_not_quoted() -> None:
    held = await reviewing()
    raw = await held.proposed(text=content(f"May {NAME}, 4482913, have it?"))
    with pytest.raises(Refused, match=r"finds identifiers in it \(MRN 1, PATIENT 1\)") as refused:
        await held.handle(raw)
    assert refused.value.code == "identifiers-found"
    assert NAME not in str(refused.value)
    assert await held.text_versions() == []
    assert await open_proposals(held.parts.tenancy, TENANT) == []


async def test_proposals_of_a_run_are_taken_as_one_by_one_also_where_reviewers_were_first() -> None:
    held = await reviewing(required=2)
    proposed = [await held.proposed(f"e{number}") for number in range(4)]
    early = [held.reviewed(proposed[1], reviewer) for reviewer in ("rev-1", "rev-2")]
    assert await held.handle(*early) == [Outcome.EFFECT] * 2
    assert await held.handle_run(*proposed) == [Outcome.EFFECT] * 4
    assert await eligible(held) == ["e1 1"]
    assert [view.example_id for view in await open_proposals(held.parts.tenancy, TENANT)] == ["e0", "e2", "e3"]
    record, _ = await read_proposal(await held.parts.tenancy.store(TENANT), "e2")
    assert record is not None
    assert record.gate is not None
    assert (record.event_id, record.gate.gate, record.gate.verdict) == (proposed[2].id, "test-gate", "clean")
    assert await held.handle_run(*proposed) == [], "what comes again is handled by itself"
    assert await held.handle(*proposed) == [Outcome.NOOP_STALE if n == 1 else Outcome.NOOP_DUPLICATE for n in range(4)]


@pytest.mark.parametrize("other", ["identifiers", "known", "decided", "twice", "foreign"])
async def test_a_run_of_proposals_ends_before_one_of_which_there_is_more_to_say(other: str) -> None:
    held = await reviewing()
    first = await held.proposed("e1")
    match other:
        case "identifiers":
            odd = await held.proposed("e2", text=content(f"May {NAME} have it?"))
        case "known":
            await held.handle(await held.proposed("e2"))
            odd = await held.proposed("e2", version=2, source="edit")
        case "decided":
            await held.handle(held.event(events.ExampleWithdrawn(example_id="e2", reason_code="patient-request")))
            odd = await held.proposed("e2")
        case "twice":
            odd = await held.proposed("e1", version=2, source="edit")
        case _:
            odd = await held.proposed("e2", text=content())
            made = odd.data.content.model_copy(update={"commitment": "f" * 64})
            odd = held.event(odd.data.model_copy(update={"content": made}))
    assert await held.handle_run(first, odd, await held.proposed("e3")) == [Outcome.EFFECT]
    assert await held.text_versions("e1") == ["contents/e1/1"]
    assert await held.text_versions("e3") == []
    assert await held.handle_run(odd) == [] or other == "twice"


async def test_a_run_of_proposals_is_judged_by_the_tenants_own_terms_and_within_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = await reviewing()
    await change_terms(
        await held.parts.tenancy.store(TENANT),
        lambda terms: terms.evolve(terms=(Term(kind="PLACE", text="Ward Seven"),)),
    )
    proposed = [await held.proposed("e1"), await held.proposed("e2", text=content("Is Ward Seven open?"))]
    assert await held.handle_run(*proposed) == [Outcome.EFFECT]
    monkeypatch.setattr("consumers.curation.proposals.JUDGING_SECONDS", -1.0)
    assert await held.handle_run(await held.proposed("e3"), await held.proposed("e4")) == [Outcome.EFFECT]


async def test_wherever_a_run_of_proposals_is_cut_off_each_ends_as_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for failing in itertools.count(1):
        held = await reviewing()
        proposed = [await held.proposed(f"e{number}") for number in range(3)]
        objects, puts = held.parts.tenancy.objects, itertools.count(1)

        async def put(*said: Any, real: Any = objects.put, puts: Any = puts, last: int = failing, **how: Any) -> str:
            if next(puts) >= last:
                raise StoreUnavailable("x")
            return str(await real(*said, **how))

        with monkeypatch.context() as patch:
            patch.setattr(objects, "put", put)
            try:
                assert await held.handle_run(*proposed) == [Outcome.EFFECT] * 3
                break
            except StoreUnavailable:
                pass
        assert set(await held.handle(*proposed)) <= {Outcome.EFFECT, Outcome.NOOP_DUPLICATE}
        assert [view.example_id for view in await open_proposals(held.parts.tenancy, TENANT)] == ["e0", "e1", "e2"]
        assert [await held.text_versions(f"e{number}") for number in range(3)] == [
            [f"contents/e{number}/1"] for number in range(3)
        ]
    assert failing == 10, "text, mark and record of each"


async def test_two_reviewers_must_agree_and_a_third_decides_where_they_do_not() -> None:
    held = await reviewing(required=2)
    one, two = await held.proposed("e1"), await held.proposed("e2")
    await held.handle(one, two, held.reviewed(one, "rev-1"), held.reviewed(two, "rev-1"))
    assert await eligible(held) == []
    await held.handle(held.reviewed(one, "rev-2"), held.reviewed(two, "rev-2", "rejected"))
    assert (await eligible(held), await status(held, "e2")) == (["e1 1"], None)
    await held.handle(held.reviewed(two, "rev-3", "rejected", reason_code="off-guideline"))
    assert await status(held, "e2") == ("rejected", 1)
    decided, _ = await read_proposal(await held.parts.tenancy.store(TENANT), "e2")
    assert decided is not None
    assert decided.decision is not None
    assert decided.decision.reviewer_ids == ("rev-2", "rev-3")
    assert decided.decision.reason_code == "wrong-answer"
    assert await held.text_versions("e2") == []


async def test_the_author_of_a_text_does_not_review_it_not_even_before_it_is_proposed() -> None:
    held = await reviewing()
    proposed = await held.proposed(author_id="rev-1")
    early = held.reviewed(proposed, "rev-1")
    assert await held.handle(early, proposed) == [Outcome.EFFECT, Outcome.EFFECT]
    assert await eligible(held) == []
    again = await held.proposed("e2", author_id="rev-1")
    await held.handle(again)
    with pytest.raises(Refused) as refused:
        await held.handle(held.reviewed(again, "rev-1"))
    assert refused.value.code == "own-example"


async def test_a_review_of_another_text_counts_for_nothing() -> None:
    held = await reviewing()
    proposed = await held.proposed()
    await held.handle(held.reviewed(proposed, "rev-1", commitment="f" * 64), proposed)
    assert await eligible(held) == []
    with pytest.raises(Refused, match="another text"):
        await held.handle(held.reviewed(proposed, "rev-2", commitment="e" * 64))


async def test_an_edit_is_a_new_version_and_voids_what_was_said_of_the_earlier_one() -> None:
    held = await reviewing(required=2)
    first = await held.proposed()
    await held.handle(first, held.reviewed(first, "rev-1"))
    edit = await held.proposed(version=2, source="edit", author_id="rev-2")
    await held.handle(edit)
    assert await held.handle(held.reviewed(first, "rev-3")) == [Outcome.NOOP_STALE]
    assert await held.handle(first) == [Outcome.NOOP_STALE]
    await held.handle(held.reviewed(edit, "rev-1"))
    assert await eligible(held) == []
    await held.handle(held.reviewed(edit, "rev-3"))
    assert await eligible(held) == ["e1 2"]
    assert await held.text_versions() == ["contents/e1/2"]


async def test_an_approved_example_stays_eligible_while_an_edit_of_it_is_reviewed() -> None:
    held = await reviewing()
    first = await held.proposed()
    await held.handle(first, held.reviewed(first, "rev-1"))
    edit = await held.proposed(version=2, source="edit", author_id="rev-1")
    await held.handle(edit)
    assert (await eligible(held), await status(held)) == (["e1 1"], ("approved", 1))
    await held.handle(held.reviewed(edit, "rev-2"))
    assert (await eligible(held), await held.text_versions()) == (["e1 2"], ["contents/e1/2"])


async def test_a_withdrawal_erases_what_is_proposed_and_lets_nothing_in_after_it() -> None:
    held = await reviewing()
    proposed = await held.proposed()
    await held.handle(proposed)
    withdrawn = held.event(events.ExampleWithdrawn(example_id="e1", reason_code="patient-request"))
    await held.handle(withdrawn)
    assert await held.text_versions() == []
    assert await open_proposals(held.parts.tenancy, TENANT) == []
    edit = await held.proposed(version=2, source="edit")
    stale = [Outcome.NOOP_STALE, Outcome.NOOP_STALE, Outcome.NOOP_STALE]
    assert await held.handle(proposed, held.reviewed(proposed, "rev-1"), edit) == stale
    assert (await held.text_versions(), await status(held)) == ([], ("withdrawn", 0))


async def test_without_consent_an_approved_proposal_waits_for_it() -> None:
    held = await reviewing(require_consent=True)
    proposed = await held.proposed(consent_id="consent-1")
    await held.handle(proposed, held.reviewed(proposed, "rev-1"))
    assert (await status(held), await eligible(held)) == (("approved", 1), [])
    await held.handle(held.event(events.ConsentGranted(consent_id="consent-1", version=1)))
    assert await eligible(held) == ["e1 1"]


async def test_another_text_under_the_id_of_a_proposal_is_a_contradiction_and_the_first_stands() -> None:
    held = await reviewing()
    first = await held.proposed(text=content(answer="No."))
    await held.handle(first)
    with pytest.raises(Contradicted):
        await held.handle(await held.proposed(text=content(answer="Yes.")))
    reviewed = held.reviewed(first, "rev-1")
    await held.handle(reviewed)
    with pytest.raises(Contradicted):
        await held.handle(held.reviewed(first, "rev-1", "rejected"))
    assert await eligible(held) == ["e1 1"]


async def test_what_does_not_open_or_is_not_what_was_committed_to_is_refused() -> None:
    held, other = await reviewing(), await onboarded_parts(TenantId("t2"))
    foreign = await Review(other, TenantId("t2")).proposed()
    with pytest.raises(SealBroken):
        await held.handle(Event(subject=TENANT, data=foreign.data, time=foreign.time, source="/test"))
    good = await held.proposed()
    assert isinstance(good.data, events.ExampleProposed)
    wrong = good.data.content.evolve(commitment="f" * 64)
    with pytest.raises(Refused) as refused:
        await held.handle(held.event(good.data.evolve(content=wrong)))
    assert refused.value.code == "commitment-mismatch"
    assert await held.text_versions() == []


async def test_a_purge_leaves_nothing_of_proposals_and_reviews_and_refuses_later_ones() -> None:
    held = await reviewing(required=2)
    proposed = await held.proposed()
    reviewed = held.reviewed(proposed, "rev-1")
    await held.handle(proposed, reviewed)
    assert held.parts.stored_keys("tenants/t1/proposals/")
    assert held.parts.stored_keys("tenants/t1/reviews/")
    held.parts.publisher.events.append(
        held.event(events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"))
    )
    await purge_to_the_end(held.parts)
    assert held.parts.stored_keys("tenants/") == []
    for event in (proposed, reviewed):
        with pytest.raises(TenantFenced):
            await held.handle(event)


async def test_no_reviewer_is_named_in_a_key_and_no_text_stands_anywhere_in_clear() -> None:
    held, secret = await reviewing(), "a secret question"
    proposed = await held.proposed(text=content(secret), author_id="author-zed")
    await held.handle(proposed, held.reviewed(proposed, "reviewer-zed"))
    assert not [key for key in held.parts.stored_keys() if "zed" in key]
    bodies = [version.body or b"" for history in held.parts.objects.objects.values() for version in history]
    assert not [body for body in bodies if secret.encode() in body]
    said = "".join(event.data.model_dump_json() for event in [proposed, *held.log])
    assert secret not in said


async def test_a_command_reviews_the_version_that_was_looked_at_and_no_other() -> None:
    held = await reviewing()
    first = await held.proposed()
    await held.handle(first, await held.proposed(version=2, source="edit", author_id="rev-1"))
    with pytest.raises(Refused, match="version 2 waits"):
        await review(held.parts.tenancy, TENANT, "e1", version=1, reviewer_id="rev-2", verdict="approved")
    with pytest.raises(Refused, match="does not review it"):
        await review(held.parts.tenancy, TENANT, "e1", version=2, reviewer_id="rev-1", verdict="approved")
    await review(held.parts.tenancy, TENANT, "e1", version=2, reviewer_id="rev-2", verdict="approved")
    await held.handle()
    assert await eligible(held) == ["e1 2"]
    with pytest.raises(Refused, match="no such example waits"):
        await review(held.parts.tenancy, TENANT, "e1", version=2, reviewer_id="rev-3", verdict="approved")


# --- any order, any number of times


async def _history(held: Review) -> list[Event]:
    one, two = await held.proposed("e1", author_id="rev-9"), await held.proposed("e2", source="hl7")
    edit = await held.proposed("e2", version=2, source="edit", author_id="rev-1")
    return [
        one,
        held.reviewed(one, "rev-1"),
        held.reviewed(one, "rev-2"),
        held.reviewed(one, "rev-9", "rejected"),
        two,
        held.reviewed(two, "rev-1"),
        edit,
        held.reviewed(edit, "rev-2", "rejected"),
        held.reviewed(edit, "rev-3", "rejected"),
        await held.proposed("e3"),
        held.event(events.ExampleWithdrawn(example_id="e3", reason_code="patient-request")),
    ]


async def _final(order: list[int]) -> dict[str, Any]:
    held = await reviewing(required=2)
    history = await _history(held)
    for number in order:
        try:
            await held.handle(history[number])
        except Refused as refused:
            assert refused.code == "own-example"
    texts = [await held.text_versions(example_id) for example_id in ("e1", "e2", "e3")]
    waiting = await open_proposals(held.parts.tenancy, TENANT)
    statuses = [await status(held, example_id) for example_id in ("e1", "e2", "e3")]
    return {"statuses": statuses, "eligible": await eligible(held), "texts": texts, "open": waiting}


ALL = list(range(11))
STRAIGHT = {
    "statuses": [("approved", 1), ("rejected", 2), ("withdrawn", 0)],
    "eligible": ["e1 1"],
    "texts": [["contents/e1/1"], [], []],
    "open": [],
}


def test_the_undisturbed_history_ends_as_it_is_meant_to() -> None:
    assert asyncio.run(_final(ALL)) == STRAIGHT


@settings(max_examples=25)
@given(st.permutations(ALL), st.lists(st.sampled_from(ALL), max_size=8))
def test_proposals_and_reviews_in_any_order_and_again_come_to_the_same(order: list[int], again: list[int]) -> None:
    assert asyncio.run(_final([*order, *again])) == STRAIGHT


# --- killed between any two effects


async def _killed(effects: int) -> tuple[bool, Any]:
    """The approving life of one example, whose process dies before its n-th write or publication, then comes again."""
    held = await reviewing()
    proposed = await held.proposed()
    left = itertools.count(effects, -1)
    put, publish = held.parts.objects.put, held.parts.publisher.publish

    class Killed(BaseException):
        pass

    def counted(effect: Any) -> Any:
        async def act(*args: Any, **kwargs: Any) -> Any:
            if next(left) == 0:
                raise Killed
            return await effect(*args, **kwargs)

        return act

    died = False
    for event in (proposed, held.reviewed(proposed, "rev-1")):
        held.parts.objects.put, held.parts.publisher.publish = counted(put), counted(publish)  # type: ignore[method-assign]
        try:
            await held.handle(event)
        except Killed:
            died = True
            held.parts.objects.put, held.parts.publisher.publish = put, publish  # type: ignore[method-assign]
            await held.handle(event)
    return died, (await status(held), await eligible(held), await open_proposals(held.parts.tenancy, TENANT))


def test_a_process_that_dies_before_any_effect_leaves_what_its_successor_finishes() -> None:
    for effects in itertools.count():
        died, came_to = asyncio.run(_killed(effects))
        assert came_to == (("approved", 1), ["e1 1"], []), f"killed before effect {effects}"
        if not died:
            break
    assert effects > 4


def test_the_gate_is_made_once_by_the_first_text_also_where_several_come_at_once() -> None:
    made = []

    def make() -> RedactionGate:
        made.append(threading.get_ident())
        time.sleep(0.05)
        return GATE

    source = AtFirstUse(make)
    assert made == []
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: source(), range(8))) == {GATE}
    assert len(made) == 1
