"""Routes of signing in and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from producers.review_page.identity_provider import CALLBACK
from producers.review_page.page import (
    Form,
    Page,
    Somebody,
    ThePage,
    anybody,
    read_form,
    require_not_signed_out,
    said,
    shown,
)
from producers.review_page.people import NotSignedIn, Person, begin, ends_of, name_of, signed_in

router = APIRouter()

Anybody = Annotated[Page, Depends(anybody)]


def home_of(person: Person) -> str:
    return "/queue" if person.role == "reviewer" else "/compliance"


@router.get("/")
async def home(person: Somebody) -> Response:
    return RedirectResponse(home_of(person), 303)


@router.get("/sign-in")
async def sign_in(request: Request, page: Anybody) -> Response:
    try:
        person = signed_in(request.session, page.clock(), page.limits)
        await require_not_signed_out(request)
        return RedirectResponse(home_of(person), 303)
    except NotSignedIn:
        return shown(request, "sign_in.html", links=page.links is not None, provider=page.provider is not None)


@router.get("/sign-in/provider")
async def to_provider(request: Request, page: Anybody) -> Response:
    if page.provider is None:
        return RedirectResponse("/sign-in", 303)
    return await page.provider.redirect(request)


@router.get(CALLBACK)
async def from_provider(request: Request, page: Anybody) -> Response:
    if page.provider is None:
        return RedirectResponse("/sign-in", 303)
    person = await page.provider.person(request)
    begin(request.session, person, page.clock(), page.limits)
    return RedirectResponse(home_of(person), 303)


@router.get("/sign-in/link")
async def link_page(request: Request, page: Anybody) -> Response:
    """Asks for a click: what only fetches addresses, such as a mail scanner, would use up a one-time link."""
    if page.links is None:
        return RedirectResponse("/sign-in", 303)
    return shown(request, "link.html", failed=False)


@router.post("/sign-in/link")
async def by_link(request: Request, page: Anybody) -> Response:
    """Signs in without a form's token, since there is no session yet; the link itself cannot be forged."""
    if page.links is None:
        return RedirectResponse("/sign-in", 303)
    form = await read_form(request, 4)
    person = await page.links.take(said(form, "link"), page.spent)
    begin(request.session, person, page.clock(), page.limits)
    return RedirectResponse(home_of(person), 303)


@router.post("/sign-out")
async def sign_out(request: Request, page: ThePage, _: Form) -> Response:
    """Ends the session everywhere before the browser forgets it: one that is not noted as ended is not over."""
    await page.spent.spend(name_of(request.session), ends_of(request.session))
    request.session.clear()
    return RedirectResponse("/sign-in", 303)
