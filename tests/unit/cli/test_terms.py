"""``sano tenant terms``: from standard input, shown on terminals only, sealed, and used by curation's gate."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from producers.cli.main import app
from producers.cli.platform import Platform
from producers.settings import OperatorSettings
from schemas.bus.content import ChatMessage, ExampleContent
from tenancy.errors import Refused
from tenancy.lifecycle.terms import tenant_terms
from tenancy.tenant_id import TenantId
from tests.unit.cli.command import TENANT, error_line
from tests.unit.operator_parts import Parts
from tests.unit.proposal_parts import Review

WARD = "Sunny Meadow"


@pytest.fixture
def terms(parts: Parts, settings: OperatorSettings) -> Any:
    """Run ``sano tenant terms`` with these words, on the tenancy in memory, and this standard input."""

    def run(words: str, given: str = "") -> Result:
        here = Platform(
            lambda: settings, lambda _: nullcontext(parts.tenancy), lambda _: pytest.fail("no bus is needed")
        )
        return CliRunner().invoke(app, ["tenant", "terms", *words.split()], input=given, obj=here)

    return run


def text(answer: str) -> ExampleContent:
    messages = (ChatMessage(role="user", content="Where?"), ChatMessage(role="assistant", content=answer))
    return ExampleContent(messages=messages, salt="5a" * 32)


def test_terms_are_added_shown_on_terminals_only_and_removed(terms: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert terms(f"add {TENANT}", f"FACILITY\t{WARD}\nOkonkwo\n\n").output == "changed: 2 terms, 0 allowed\n"
    assert terms(f"add {TENANT} --allow", "Epley\n").output == "changed: 2 terms, 1 allowed\n"
    assert terms(f"add {TENANT}", "okonkwo\n").output.startswith("changed"), "the way it is written last counts"
    assert terms(f"add {TENANT}", "okonkwo\n").output == "as before: 2 terms, 1 allowed\n"
    assert "on a terminal" in error_line(terms(f"list {TENANT}"), 1)
    monkeypatch.setattr("producers.cli.terms.is_terminal", lambda: True)
    assert terms(f"list {TENANT}").output == f"FACILITY\t{WARD}\nPERSON\tokonkwo\nallowed\tEpley\n"
    assert terms(f"remove {TENANT}", "OKONKWO\nepley\n").output == "changed: 1 terms, 0 allowed\n"
    assert terms(f"list {TENANT}").output == f"FACILITY\t{WARD}\n"


@pytest.mark.parametrize("given", ["", "\n", "NOBODY\tOkonkwo", "...", "x", "x" * 201])
def test_what_is_no_term_is_refused_and_never_quoted(terms: Any, given: str) -> None:
    said = error_line(terms(f"add {TENANT}", given), 1)
    assert "Okonkwo" not in said and "xxx" not in said


def test_curation_judges_by_the_tenants_own_terms_and_its_verdict_names_their_version(terms: Any, parts: Parts) -> None:
    held = Review(parts, TENANT)
    before = asyncio.run(held.proposed("e1", text(f"On {WARD}.")))
    asyncio.run(held.handle(before))
    terms(f"add {TENANT}", f"FACILITY\t{WARD}\n")
    with pytest.raises(Refused, match="FACILITY 1"):
        asyncio.run(held.handle(asyncio.run(held.proposed("e2", text("On sunny meadow.")))))
    asyncio.run(held.handle(asyncio.run(held.proposed("e3", text("On the ward.")))))

    async def verdicts() -> list[str]:
        from schemas.objects import object_keys
        from schemas.objects.proposals import ProposalRecord

        store = await parts.tenancy.store(TENANT)
        version = (await tenant_terms(store)).version
        names = [object_keys.proposal(name) for name in ("e1", "e3")]
        found = [(await store.get_record(name, ProposalRecord))[0].gate.version for name in names]
        assert found == ["1", f"1+{version}"]
        return found

    assert len(asyncio.run(verdicts())) == 2


def test_terms_stand_sealed_in_one_object_and_nowhere_else(terms: Any, parts: Parts) -> None:
    terms(f"add {TENANT}", f"FACILITY\t{WARD}\n")
    other = TenantId("t10")
    asyncio.run(_onboarded(parts, other))
    terms(f"add {TENANT}", "Okonkwo\n")

    async def look() -> None:
        store = await parts.tenancy.store(TENANT)
        assert [name async for name in store.list("terms")] == ["terms/list"]
        assert set((await tenant_terms(store)).identifiers) == {WARD, "Okonkwo"}
        assert (await tenant_terms(await parts.tenancy.store(other))).identifiers == {}
        async for key in parts.tenancy.objects.keys(""):
            body = (await parts.tenancy.objects.get(key)).body
            assert b"Okonkwo" not in body and WARD.encode() not in body and "Okonkwo" not in key

    asyncio.run(look())


async def _onboarded(parts: Parts, tenant: TenantId) -> None:
    from producers.commands.onboarding import onboard
    from schemas.tenant.policy import TenantPolicy

    await onboard(parts.tenancy, tenant, TenantPolicy())
