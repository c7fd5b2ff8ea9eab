"""``sano review link``: a one-time link to the review page, for somebody with one role."""

from __future__ import annotations

import asyncio

import pytest

from producers.review_page.links import AUDIENCE, BadLink, Links
from producers.review_page.people import Person
from tenancy.platform.clock import utc_now
from tenancy.state.spent import Spent
from tenancy.tokens import TokenVerifier
from tests.unit.cli.command import TENANT, Sano, error_line
from tests.unit.operator_parts import Parts

URL = "https://review.test"
LINK = ("review", "link", "--tenant", TENANT)


def taken(parts: Parts, code: str) -> Person:
    links = Links(TokenVerifier(parts.keys.trust, audience=AUDIENCE))
    return asyncio.run(links.take(code, Spent(parts.objects, utc_now)))


def test_a_link_is_for_one_person_of_one_role_and_one_tenant(sano: Sano, parts: Parts) -> None:
    made = sano(*LINK, "--role", "compliance", "--reviewer", "c-1", review_url=URL)
    assert made.exit_code == 0, made.output
    address, _, code = made.stdout.strip().partition("#")
    assert address == f"{URL}/sign-in/link"
    person = taken(parts, code)
    assert (person.tenant, person.id, person.role) == (TENANT, "c-1", "compliance")
    with pytest.raises(BadLink):
        taken(parts, code)


def test_two_links_that_name_nobody_are_for_two_people(sano: Sano, parts: Parts) -> None:
    codes = [sano(*LINK, review_url=URL).stdout.strip().partition("#")[2] for _ in range(2)]
    assert len({taken(parts, code).id for code in codes}) == 2


def test_without_a_page_a_tenant_or_a_role_there_is_no_link(sano: Sano) -> None:
    assert "sano up --review" in error_line(sano(*LINK), 1)
    assert "no such tenant" in error_line(sano("review", "link", "--tenant", "t9", review_url=URL), 1)
    assert sano(*LINK, "--role", "admin", review_url=URL).exit_code == 2
