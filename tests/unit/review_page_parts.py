"""Parts of the tests of the review page: the application on a tenancy in memory, and a browser that keeps cookies."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import httpx

from producers.commands.onboarding import onboard
from producers.review_page.links import AUDIENCE, Links
from producers.review_page.page import Page
from producers.review_page.people import Limits, Role
from producers.review_page.rates import Rates
from producers.review_page.web import build
from producers.sources.source_key import SourceKey
from schemas.bus import events
from schemas.evidence.audit import CHECKPOINT_SECONDS
from schemas.objects.state import PurgeState
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.tenant_id import TenantId
from tenancy.tokens import TokenIssuer, TokenVerifier
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.gates import gate_of_tests
from tests.unit.operator_parts import Parts
from tests.unit.proposal_parts import Review
from tests.world.world import World

URL = "https://review.test"
T1 = TenantId("t1")


class Browser(httpx.AsyncClient):
    """One person's. Forms are sent with the token of the page that was looked at last."""

    def __init__(self, app: Any) -> None:
        super().__init__(transport=httpx.ASGITransport(app=app), base_url=URL)
        self.token = ""

    async def look(self, path: str) -> str:
        answer = await self.get(path, follow_redirects=True)
        assert answer.status_code == 200, (path, answer.status_code)
        self._note(answer.text)
        return answer.text

    async def send_form(self, path: str, **fields: str) -> httpx.Response:
        return await self.post(path, data={"token": self.token, **fields})

    def _note(self, html: str) -> None:
        found = re.search(r'name="token" value="([^"]+)"', html)
        self.token = unescape(found[1]) if found else self.token


@dataclass
class OfWorld:
    """What the page needs of a world: its processes did what compliance asks about."""

    world: World

    @property
    def tenancy(self) -> Tenancy:
        return self.world.outside

    @property
    def keys(self) -> AllKeys:
        return self.world.keys

    @property
    def now(self) -> datetime:
        return self.world.now

    @now.setter
    def now(self, time: datetime) -> None:
        self.world.now = time


@dataclass
class Desk:
    """The page of an installation, and what curation does with what it publishes.

    ``parts`` are :class:`Parts`, or :class:`OfWorld` where nothing is published.
    """

    parts: Any
    per_minute: int = 1000
    url: str = URL
    page: Page = field(init=False)
    app: Any = field(init=False)

    def __post_init__(self) -> None:
        clock = lambda: self.parts.now  # noqa: E731
        self.page = Page(
            limits=Limits(idle_seconds=1800, whole_seconds=28_800),
            people=Rates(self.per_minute, lambda: self.parts.now.timestamp()),
            strangers=Rates(30, lambda: self.parts.now.timestamp()),
            clock=clock,
            deadline_seconds=60,
            verifier=self.parts.keys.trust,
            sign_seconds=CHECKPOINT_SECONDS,
            key=SourceKey(b"k" * 32),
            gate=gate_of_tests,
            links=Links(TokenVerifier(self.parts.keys.trust, clock, AUDIENCE)),
            held=[self.parts.tenancy],
        )
        self.app = build(self.page, self.url, "s" * 64)

    def link(self, tenant: str = "t1", role: Role = "reviewer", person: str = "rev-1") -> str:
        """The code of a new one-time link."""
        more = {"role": role, "person": person}
        issuer = TokenIssuer(self.parts.keys.token, lambda: self.parts.now)
        return issuer.issue(TenantId(tenant), timedelta(minutes=10), AUDIENCE, more)

    async def signed_in(self, tenant: str = "t1", role: Role = "reviewer", person: str = "rev-1") -> Browser:
        browser = Browser(self.app)
        answer = await browser.post("/sign-in/link", data={"link": self.link(tenant, role, person)})
        assert answer.status_code == 303, answer.text
        await browser.look("/sign-in")
        return browser

    async def fence(self, tenant: str = "t1") -> None:
        """As a purge does first."""
        purge = PurgeState(purge_id="p1", fenced_at=self.parts.now)
        await self.parts.tenancy.states.swap(
            TenantId(tenant), lambda state: state.evolve(status="purging", purge=purge)
        )

    def review(self, tenant: str = "t1") -> Review:
        return Review(self.parts, TenantId(tenant))

    async def curated(self, tenant: str = "t1") -> list[events.EventData]:
        """Let curation handle what the page has published, and return that."""
        made = list(self.parts.publisher.events)
        self.parts.publisher.events.clear()
        await self.review(tenant).handle(*made)
        return [event.data for event in made]


async def have_asked(desk: Desk, count: int) -> None:
    """Wait until so many have their turn at long work, or wait for it."""
    async with asyncio.timeout(20):
        while sum(place.asked for place in desk.page.long_work._places.values()) < count:
            await asyncio.sleep(0.001)
    for _ in range(10):  # whoever has a turn takes it
        await asyncio.sleep(0)


async def desk_of(required: int = 1, per_minute: int = 1000, url: str = URL) -> Desk:
    """Of two tenants, t1 and t2, whose examples need so many reviewers."""
    parts = Parts()
    for tenant in ("t1", "t2"):
        policy = TenantPolicy(reviewers_required=required, require_consent=False)
        await onboard(parts.tenancy, TenantId(tenant), policy)
    parts.publisher.events.clear()
    return Desk(parts, per_minute, url)
