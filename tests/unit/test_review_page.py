"""The review page for reviewers: the queue, and decisions by the same functions as on the command line."""

from __future__ import annotations

import asyncio
import re

import pytest

from producers.commands.terms import add_terms
from producers.review_page import queue
from schemas.base.redaction import IdentifierType
from schemas.bus import events
from schemas.objects import object_keys
from schemas.objects.proposals import ProposalRecord
from schemas.objects.terms import Term
from tenancy.bootstrap import Tenancy
from tenancy.lifecycle.terms import read_term_list
from tenancy.state.open_work import markers
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import NAME
from tests.unit.operator_parts import publish_adapter
from tests.unit.proposal_parts import content
from tests.unit.review_page_parts import T1, Desk, desk_of, have_asked


@pytest.fixture
async def desk() -> Desk:
    return await desk_of(required=2)


async def test_a_reviewer_approves_what_the_queue_offers_and_is_led_to_the_next(desk: Desk) -> None:
    first, second = await desk.review().proposed("e1"), await desk.review().proposed("e2")
    await desk.review().handle(first, second)
    browser = await desk.signed_in()
    html = await browser.look("/queue")
    assert "Waits for you: 2" in html
    assert html.index("/examples/e1") < html.index("/examples/e2"), "the oldest first"
    await browser.look("/examples/e1")
    answer = await browser.send_form("/examples/e1/approve", version="1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/queue/next?after=e1")
    assert "/examples/e2/approve" in await browser.look(answer.headers["location"])
    [said] = await desk.curated()
    assert isinstance(said, events.ExampleReviewed)
    assert isinstance(first.data, events.ExampleProposed)
    assert (said.example_id, said.version, said.reviewer_id, said.verdict) == ("e1", 1, "rev-1", "approved")
    assert said.commitment == first.data.content.commitment, "bound to the text that was seen"


async def test_what_one_reviewer_approved_waits_for_another_until_as_many_agree_as_the_policy_asks(desk: Desk) -> None:
    await desk.review().handle(await desk.review().proposed("e1"))
    for person in ("rev-1", "rev-2"):
        browser = await desk.signed_in(person=person)
        assert "Waits for you: 1" in await browser.look("/queue")
        await browser.look("/examples/e1")
        assert (await browser.send_form("/examples/e1/approve", version="1")).status_code == 303
        await desk.curated()
    assert "Nothing waits for you" in await browser.look("/queue")


async def test_a_reviewer_rejects_with_a_code_of_the_list_and_without_one_not_at_all(desk: Desk) -> None:
    await desk.review().handle(await desk.review().proposed("e1"))
    browser = await desk.signed_in()
    await browser.look("/examples/e1")
    for reason in ("", "because of Mrs Example"):
        assert (await browser.send_form("/examples/e1/reject", version="1", reason=reason)).status_code == 409
    assert desk.parts.publisher.events == []
    await browser.send_form("/examples/e1/reject", version="1", reason="unsafe")
    [said] = await desk.curated()
    assert isinstance(said, events.ExampleReviewed)
    assert (said.verdict, said.reason_code) == ("rejected", "unsafe")


async def test_where_two_disagree_it_waits_for_a_third_and_says_so(desk: Desk) -> None:
    proposed = await desk.review().proposed("e1")
    of = desk.review()
    await of.handle(proposed, of.reviewed(proposed, "rev-1"), of.reviewed(proposed, "rev-2", "rejected"))
    first, third = await desk.signed_in(person="rev-1"), await desk.signed_in(person="rev-3")
    assert "Waits for others: 1" in await first.look("/queue")
    assert "You have reviewed this version" in await first.look("/examples/e1")
    assert "disagreement" in await third.look("/queue")
    assert "Another one decides" in await third.look("/examples/e1")


async def test_what_the_gate_sent_back_from_a_training_set_says_so(desk: Desk) -> None:
    await desk.review().handle(await desk.review().proposed("e1"), await desk.review().proposed("e2"))
    store, place = await desk.parts.tenancy.store(T1), object_keys.proposal("e1")
    record, _ = await store.get_record(place, ProposalRecord)
    await store.put_record(place, record.evolve(source="freeze"))
    browser = await desk.signed_in()
    assert "when a training set was made" in await browser.look("/examples/e1")
    assert "when a training set was made" not in await browser.look("/examples/e2")


async def test_who_wrote_an_example_is_offered_no_decision_on_it_and_cannot_send_one(desk: Desk) -> None:
    await desk.review().handle(await desk.review().proposed("e1", author_id="rev-1"))
    browser = await desk.signed_in(person="rev-1")
    html = await browser.look("/examples/e1")
    assert "/approve" not in html
    assert "others review it" in html
    assert (await browser.send_form("/examples/e1/approve", version="1")).status_code == 409
    assert desk.parts.publisher.events == []


async def test_a_version_that_was_edited_meanwhile_is_not_decided_by_who_saw_the_one_before(desk: Desk) -> None:
    await desk.review().handle(await desk.review().proposed("e1"))
    browser = await desk.signed_in()
    await browser.look("/examples/e1")
    edited = await desk.review().proposed("e1", content(answer="Yes."), version=2, author_id="rev-9")
    await desk.review().handle(edited)
    for version in ("1", "", "²", "1" * 5000):
        assert (await browser.send_form("/examples/e1/approve", version=version)).status_code == 409
    assert desk.parts.publisher.events == []


async def test_placeholders_are_marked_and_a_text_is_text_whatever_it_looks_like(desk: Desk) -> None:
    hostile = "<script>alert(1)</script> [PATIENT-1] {{ 7*7 }} \u202egnihton [NOT-1]"
    await desk.review().handle(await desk.review().proposed("e1", content(question=hostile)))
    html = await (await desk.signed_in()).look("/examples/e1")
    assert '<mark class="redacted">[PATIENT-1]</mark>' in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "{{ 7*7 }}" in html
    assert "\u202e" not in html
    assert "[NOT-1]</mark>" not in html


async def test_another_tenants_example_and_one_that_does_not_exist_are_both_not_found(desk: Desk) -> None:
    await desk.review().handle(await desk.review().proposed("e1"))
    stranger = await desk.signed_in(tenant="t2")
    assert "Waits for you: 0" in await stranger.look("/queue")
    answers = [await stranger.get(f"/examples/{name}") for name in ("e1", "e-unknown", "..%2fkey", "a" * 200, NAME)]
    assert {answer.status_code for answer in answers} == {404}
    assert len({re.sub(r'value="[^"]+"', "", answer.text) for answer in answers}) == 1
    assert (await stranger.send_form("/examples/e1/approve", version="1")).status_code == 404
    assert desk.parts.publisher.events == []


async def test_nothing_of_a_purged_tenant_is_shown(desk: Desk) -> None:
    await desk.review().handle(await desk.review().proposed("e1"))
    browser = await desk.signed_in()
    await desk.fence()
    assert (await browser.get("/queue")).status_code == 410
    assert (await browser.get("/examples/e1")).status_code == 410


async def test_an_edit_is_a_new_version_by_its_editor_redacted_again_and_voids_what_was_said_before(desk: Desk) -> None:
    first, of = await desk.review().proposed("e1", consent_id="c1"), desk.review()
    await of.handle(first, of.reviewed(first, "rev-2"))
    editor, other = await desk.signed_in(person="rev-1"), await desk.signed_in(person="rev-2")
    assert "May [PATIENT-1] have it?</textarea>" in await editor.look("/examples/e1/edit")
    fields = {"text-0": "May [PATIENT-1] have it?", "text-1": f"Yes, \r\nsays {NAME}, 4482913."}
    answer = await editor.send_form("/examples/e1/edit", version="1", **fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/queue/next?after=e1")
    assert NAME not in str([event.data for event in desk.parts.publisher.events])
    [said] = await desk.curated()
    assert isinstance(said, events.ExampleProposed)
    assert (said.version, said.source, said.author_id, said.consent_id) == (2, "edit", "rev-1", "c1")
    assert "others review it" in await editor.look("/examples/e1")
    html = await other.look("/examples/e1")
    assert "Yes, \nsays" in html
    assert NAME not in html
    assert "4482913" not in html
    assert "0 of 2" in html, "the review of the first version counts for nothing"


async def test_a_tenants_edits_pass_the_gate_one_at_a_time_and_hold_up_no_other_tenants(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate takes a minute for the longest, in one of few threads that all share."""
    begun: list[TenantId] = []
    release = asyncio.Event()

    async def slowly(tenancy: Tenancy, tenant: TenantId, *_: object, **__: object) -> None:
        begun.append(tenant)
        await release.wait()

    monkeypatch.setattr(queue, "edit", slowly)
    sent = []
    for tenant in ("t1", "t2"):
        await desk.review(tenant).handle(await desk.review(tenant).proposed("e1"))
    for tenant, person in (("t1", "rev-1"), ("t1", "rev-2"), ("t2", "rev-3")):
        editor = await desk.signed_in(tenant, person=person)
        await editor.look("/examples/e1/edit")
        fields = {"version": "1", "text-0": "May it?", "text-1": "No."}
        sent.append(asyncio.create_task(editor.send_form("/examples/e1/edit", **fields)))
    await have_asked(desk, 3)
    assert sorted(begun) == ["t1", "t2"]
    release.set()
    assert {(await each).status_code for each in sent} == {303}
    assert sorted(begun) == ["t1", "t1", "t2"]


async def test_an_edit_is_redacted_by_the_tenants_own_terms_too(desk: Desk) -> None:
    await desk.review().handle(await desk.review().proposed("e1"))
    term = Term(text="ward Magnolia", kind=IdentifierType.FACILITY)
    await add_terms(desk.parts.tenancy, T1, terms=[term], changed_by="op-1")
    editor = await desk.signed_in()
    await editor.look("/examples/e1/edit")
    fields = {"text-0": "May [PATIENT-1] have it on ward Magnolia?", "text-1": "No."}
    assert (await editor.send_form("/examples/e1/edit", version="1", **fields)).status_code == 303
    await desk.curated()
    html = await (await desk.signed_in(person="rev-2")).look("/examples/e1")
    assert "Magnolia" not in html
    assert "[FACILITY-1]</mark>" in html


async def test_an_edit_of_nothing_of_an_empty_or_too_long_turn_or_of_an_old_version_is_refused(
    desk: Desk,
) -> None:
    await desk.review().handle(await desk.review().proposed("e1"))
    editor = await desk.signed_in()
    await editor.look("/examples/e1/edit")
    same = {"text-0": "May [PATIENT-1] have it?", "text-1": "No."}
    wrong = (same, {**same, "text-1": " "}, {**same, "text-1": "x" * 32_769})
    for version, fields in (*(("1", each) for each in wrong), ("2", {**same, "text-1": "Yes."})):
        assert (await editor.send_form("/examples/e1/edit", version=version, **fields)).status_code == 409
    assert desk.parts.publisher.events == []


async def test_a_decided_example_shows_its_decision_and_the_adapters_that_it_is_in(desk: Desk) -> None:
    of = desk.review()
    for number in (0, 9):
        proposed = await of.proposed(f"example-{number}")
        await of.handle(proposed, of.reviewed(proposed, "rev-1"), of.reviewed(proposed, "rev-2"))
    digest = await publish_adapter(desk.parts, T1)
    browser = await desk.signed_in()
    html = await browser.look("/examples/example-0")
    assert "approved" in html
    assert digest[:16] in html
    assert "May [PATIENT-1]" not in html, "what is decided shows no text"
    assert "No adapter was trained on it" in await browser.look("/examples/example-9")


async def test_a_missed_identifier_becomes_a_term_of_the_tenant_and_is_searched_for(desk: Desk) -> None:
    await desk.review().handle(await desk.review().proposed("e1", content(question="May Okonkwo's son have it?")))
    browser = await desk.signed_in()
    assert "Mark a missed identifier" in await browser.look("/examples/e1")
    wrong = [("Okonkwo", "nothing"), ("", "CLINICIAN"), ("two\nlines", "CLINICIAN"), ("Obafemi", "CLINICIAN")]
    for term, kind in wrong:
        answer = await browser.send_form("/examples/e1/mark", version="1", term=term, kind=kind)
        assert answer.status_code == 409, (term, kind)
        assert "Obafemi" not in answer.text
    assert (
        await browser.send_form("/examples/e1/mark", version="1", term=" Okonkwo ", kind="PERSON")
    ).status_code == 303
    store = await desk.parts.tenancy.store(T1)
    assert [term.text for term in (await read_term_list(store))[0].terms] == ["Okonkwo"]
    assert list(await markers(desk.parts.objects, "rescans")) == [T1]
    assert desk.parts.publisher.events == [], "curation withdraws what it finds"
    assert "Nothing waits for you" in await browser.look("/queue")
