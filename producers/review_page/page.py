"""Holds what every route needs, and the ways in: who asks, how often, with a form of this page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.templating import Jinja2Templates
from markupsafe import Markup, escape
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, Response

from producers.queries.printable import printable
from producers.review_page.identity_provider import IdentityProvider
from producers.review_page.links import Links
from producers.review_page.people import Limits, NotSignedIn, Person, Role, ends_of, is_genuine, name_of, signed_in
from producers.review_page.rates import AtOnce, Rates
from producers.sources.source_key import SourceKey
from schemas.base.redaction import IdentifierType
from tenancy.bootstrap import Tenancy
from tenancy.errors import Transient
from tenancy.evidence.trust import Verifier
from tenancy.platform.clock import Clock
from tenancy.platform.concurrency import OneOfEach
from tenancy.redaction.at_first_use import GateSource
from tenancy.state.spent import Spent

FOLDER = Path(__file__).parent
FORM_SECONDS = 30.0
"""So long a form may take to come. Else strangers who send none to its end would have every connection."""
PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(kind.value for kind in IdentifierType)})-[0-9]+\]")


class Starting(Transient):
    def __init__(self) -> None:
        super().__init__("the page has no bus and no bucket yet; try again")


class WrongRole(Exception):
    """Signed in, and not as who may do this."""


class ForgedForm(Exception):
    """A form that this page did not make for this session, or that is no form."""


class LateForm(Exception):
    """A form that did not come to its end within :data:`FORM_SECONDS`."""


@dataclass
class Page:
    """``held`` is the tenancy while the process has one. ``links`` or ``provider`` is None where nobody signs in so."""

    limits: Limits
    people: Rates
    strangers: Rates
    clock: Clock
    deadline_seconds: float
    verifier: Verifier
    sign_seconds: float
    key: SourceKey = field(repr=False)
    gate: GateSource
    links: Links | None = None
    provider: IdentityProvider | None = None
    held: list[Tenancy] = field(default_factory=list)
    at_once: AtOnce = field(default_factory=AtOnce)
    long_work: OneOfEach = field(default_factory=OneOfEach)
    """A look at a whole log or at all reviews, and the gate's at an edited text: they take seconds, up to a minute, of
    few threads that all tenants share. Of a tenant one at a time.
    """

    @property
    def tenancy(self) -> Tenancy:
        """Raises :class:`Starting`."""
        if not self.held:
            raise Starting
        return self.held[-1]

    @property
    def spent(self) -> Spent:
        """Sessions and links that count no more, in every process of the page. Raises :class:`Starting`."""
        return Spent(self.tenancy.objects, self.clock)


def page_of(request: Request) -> Page:
    page: Page = request.app.state.page
    return page


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def anybody(request: Request) -> Page:
    """Of routes that need nobody signed in. Raises :class:`~producers.review_page.rates.TooOften`."""
    page = page_of(request)
    page.strangers.spend(_address(request))
    return page


async def somebody(request: Request) -> AsyncIterator[Person]:
    """Whoever is signed in, until the answer is sent. Raises :class:`NotSignedIn` and
    :class:`~producers.review_page.rates.TooOften`.
    """
    page = page_of(request)
    try:
        person = signed_in(request.session, page.clock(), page.limits)
        page.people.spend(f"{person.tenant}/{person.id}")
        await require_not_signed_out(request)
    except NotSignedIn:
        page.strangers.spend(_address(request))
        raise
    with page.at_once.one_more(person.tenant):
        yield person


async def require_not_signed_out(request: Request) -> None:
    """Raises :class:`NotSignedIn` for a copy of a cookie whose session somebody signed out of."""
    if await page_of(request).spent.has(name_of(request.session), ends_of(request.session)):
        request.session.clear()
        raise NotSignedIn


def _only(role: Role) -> Callable[[Person], Person]:
    def check(person: Annotated[Person, Depends(somebody)]) -> Person:
        if person.role != role:
            raise WrongRole
        return person

    return check


async def _form(request: Request, _: Annotated[Person, Depends(somebody)]) -> FormData:
    """The form, if this page made it for this session: nobody else's is waited for. Raises :class:`ForgedForm`."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise ForgedForm
    form = await read_form(request, 160)
    if not is_genuine(request.session, form.get("token")):
        raise ForgedForm
    return form


async def read_form(request: Request, most_fields: int) -> FormData:
    """Raises :class:`LateForm`."""
    try:
        async with asyncio.timeout(FORM_SECONDS):
            return await request.form(max_files=0, max_fields=most_fields)
    except TimeoutError:
        raise LateForm from None


ThePage = Annotated[Page, Depends(page_of)]
Somebody = Annotated[Person, Depends(somebody)]
Reviewer = Annotated[Person, Depends(_only("reviewer"))]
Compliance = Annotated[Person, Depends(_only("compliance"))]
Form = Annotated[FormData, Depends(_form)]


def said(form: FormData, name: str) -> str:
    """One field's text; empty where it is missing."""
    value = form.get(name)
    return value if isinstance(value, str) else ""


def pieces(text: str) -> Iterator[Markup]:
    """The text as HTML, with each placeholder marked."""
    end = 0
    for found in PLACEHOLDER.finditer(text):
        yield escape(text[end : found.start()])
        yield Markup('<mark class="redacted">{}</mark>').format(found[0])
        end = found.end()
    yield escape(text[end:])


def marked(text: str) -> Markup:
    """Without control characters, and with placeholders marked."""
    return Markup("").join(pieces(printable(text)))


def moment(time: datetime | None) -> str:
    if time is None:
        return "never"
    return f"{time:%Y-%m-%d %H:%M} UTC"


_TEMPLATES = Jinja2Templates(directory=FOLDER / "templates")
_TEMPLATES.env.filters.update(marked=marked, moment=moment)
_TEMPLATES.env.trim_blocks = _TEMPLATES.env.lstrip_blocks = True


def shown(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A page, for whoever is signed in. Templates escape whatever they are given."""
    session = request.session
    context |= {"token": session.get("token"), "role": session.get("role"), "tenant": session.get("tenant")}
    return _TEMPLATES.TemplateResponse(request, template, context, status_code=status)


def told(request: Request, status: int, heading: str, what: str) -> Response:
    """A page of one sentence."""
    return shown(request, "message.html", status, heading=heading, what=what)
