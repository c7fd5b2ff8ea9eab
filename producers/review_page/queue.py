"""Routes of reviewers: the queue, one example, and what is said of it, by the same functions as ``sano review``."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from producers.commands.editing import edit
from producers.commands.marking import mark
from producers.commands.reviewing import review
from producers.queries.decided import decided_example
from producers.queries.proposals import ProposalView, ReviewQueue, proposed_text
from producers.review_page.page import Form, Reviewer, ThePage, said, shown
from producers.review_page.people import Person, Session, remember, remembers
from schemas.base.identifiers import OPAQUE_ID_PATTERN
from schemas.base.redaction import IdentifierType
from schemas.bus.content import TURN_CHARACTERS, ChatMessage
from schemas.bus.events import Verdict
from schemas.objects.object_keys import OPEN_PROPOSAL_PATTERN
from schemas.objects.terms import Term
from tenancy.errors import Refused

router = APIRouter()

SHOWN_PROPOSALS = 50
REASONS = {
    "wrong-answer": "The answer is wrong",
    "unsafe": "The answer could harm a patient",
    "off-policy": "It is against the house's rules",
    "identifiers-left": "It still identifies somebody",
    "not-relevant": "It is of no use for training",
    "unclear": "It cannot be understood",
    "duplicate": "There is one like it already",
}
"""Codes that the page offers, and their words. The text never goes into a code."""

ExampleId = Annotated[str, Path(pattern=OPAQUE_ID_PATTERN)]
Place = Annotated[str | None, Query(pattern=f"^$|{OPEN_PROPOSAL_PATTERN}")]
"""Of the queue: its front, or a time and an example's id."""


def is_for(view: ProposalView, person: Person, session: Session) -> bool:
    """Whether this reviewer has still to look at it: neither the author nor somebody who spoke already."""
    is_own = person.wrote(view.author_id) or person.id in view.reviewer_ids
    return not is_own and not remembers(session, view.example_id, view.version)


@router.get("/queue")
async def queue(request: Request, page: ThePage, person: Reviewer, behind: Place = None) -> Response:
    waiting = await ReviewQueue.of(page.tenancy, person.tenant)
    part = await waiting.part(behind or "", SHOWN_PROPOSALS)
    mine: list[ProposalView] = []
    others: list[ProposalView] = []
    for view in part.views:
        (mine if is_for(view, person, request.session) else others).append(view)
    return shown(request, "queue.html", mine=mine, others=others, behind=behind, following=part.following)


@router.get("/queue/next")
async def next_example(
    request: Request,
    page: ThePage,
    person: Reviewer,
    after: Annotated[str | None, Query(pattern=OPAQUE_ID_PATTERN)] = None,
) -> Response:
    """The next one behind ``after`` that waits for this reviewer; else the queue, where the search ended."""
    waiting = await ReviewQueue.of(page.tenancy, person.tenant)
    behind = "" if after is None else await waiting.place_of(after)
    found = await waiting.first(behind, lambda view: is_for(view, person, request.session))
    if isinstance(found, ProposalView):
        return RedirectResponse(f"/examples/{found.example_id}", 303)
    return RedirectResponse("/queue" if found is None else f"/queue?{urlencode({'behind': found})}", 303)


@router.get("/examples/{example_id}")
async def example(request: Request, page: ThePage, person: Reviewer, example_id: ExampleId) -> Response:
    try:
        found = await proposed_text(page.tenancy, person.tenant, example_id)
    except Refused as refusal:
        if refusal.code != "not-open":
            raise
        decided = await decided_example(page.tenancy, person.tenant, example_id, page.verifier)
        return shown(request, "decided.html", decided=decided)
    view = found.proposal
    return shown(
        request,
        "example.html",
        view=view,
        messages=found.messages,
        reasons=REASONS,
        kinds=sorted(IdentifierType),
        is_author=person.wrote(view.author_id),
        may_review=is_for(view, person, request.session),
    )


@router.post("/examples/{example_id}/approve")
async def approve(request: Request, page: ThePage, person: Reviewer, form: Form, example_id: ExampleId) -> Response:
    return await _say(request, page, person, example_id, said(form, "version"), "approved")


@router.post("/examples/{example_id}/reject")
async def reject(request: Request, page: ThePage, person: Reviewer, form: Form, example_id: ExampleId) -> Response:
    reason = said(form, "reason")
    if reason not in REASONS:
        raise Refused("no-reason", "refused: choose why it is rejected")
    return await _say(request, page, person, example_id, said(form, "version"), "rejected", reason)


@router.get("/examples/{example_id}/edit")
async def edit_form(request: Request, page: ThePage, person: Reviewer, example_id: ExampleId) -> Response:
    found = await proposed_text(page.tenancy, person.tenant, example_id)
    return shown(request, "edit.html", view=found.proposal, messages=found.messages)


@router.post("/examples/{example_id}/edit")
async def edit_example(
    request: Request, page: ThePage, person: Reviewer, form: Form, example_id: ExampleId
) -> Response:
    number, found = version_said(said(form, "version")), await proposed_text(page.tenancy, person.tenant, example_id)
    texts = [said(form, f"text-{turn}").replace("\r\n", "\n").strip() for turn in range(len(found.messages))]
    if not all(texts):
        raise Refused("empty-turn", "refused: no turn of a conversation may be empty")
    if max(map(len, texts)) > TURN_CHARACTERS:
        raise Refused("turn-too-long", f"refused: a turn of a conversation has at most {TURN_CHARACTERS} characters")
    turns = zip(found.messages, texts, strict=True)
    async with page.long_work.of(person.tenant):
        await edit(
            page.tenancy,
            person.tenant,
            example_id,
            version=number,
            editor_id=person.id,
            messages=tuple(ChatMessage(role=message.role, content=text) for message, text in turns),
            key=page.key,
            gate=page.gate,
        )
    remember(request.session, example_id, number)
    return RedirectResponse(f"/queue/next?after={example_id}", 303)


@router.post("/examples/{example_id}/mark")
async def mark_missed(request: Request, page: ThePage, person: Reviewer, form: Form, example_id: ExampleId) -> Response:
    """Take an identifier that the gate missed. It is in the form's body only, and in no address, answer or error."""
    try:
        term = Term(text=said(form, "term").strip(), kind=IdentifierType(said(form, "kind")))
    except ValueError:  # ValidationError is one
        raise Refused("bad-term", "refused: give the identifier on one line, and say what it is") from None
    number = version_said(said(form, "version"))
    await mark(
        page.tenancy,
        person.tenant,
        example_id,
        term,
        reviewer_id=person.id,
        deadline_seconds=page.deadline_seconds,
    )
    remember(request.session, example_id, number)
    return RedirectResponse(f"/queue/next?after={example_id}", 303)


async def _say(
    request: Request,
    page: ThePage,
    person: Person,
    example_id: str,
    version: str,
    verdict: Verdict,
    reason: str | None = None,
) -> Response:
    number = version_said(version)
    await review(
        page.tenancy,
        person.tenant,
        example_id,
        version=number,
        reviewer_id=person.id,
        authored_as=person.authored_as,
        verdict=verdict,
        reason_code=reason,
    )
    remember(request.session, example_id, number)
    return RedirectResponse(f"/queue/next?after={example_id}", 303)


def version_said(text: str) -> int:
    """Raises :class:`Refused`."""
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise Refused("another-version", "refused: the form names no version")
    return int(text)
