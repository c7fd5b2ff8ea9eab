"""``sano knowledge``, as it is typed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas.bus import events
from tenancy.state.policy_changes import policy_set
from tests.fixtures.embedders import WordEmbedder
from tests.unit.cli.command import TENANT, Sano, error_line, shape
from tests.unit.knowledge.index_parts import Index
from tests.unit.operator_parts import Parts


def test_the_command_adds_lists_and_removes(sano: Sano, parts: Parts, tmp_path: Path) -> None:
    file = tmp_path / "formulary.md"
    file.write_text("# Dose\n\n5 mg\n")
    said = shape(
        sano(
            "knowledge", "add", str(file), "--tenant", TENANT, "--id", "d1", "--as-is", "--from", "2026-03-01", "--json"
        )
    )
    assert said == [{"document_id": "d1", "version": 1, "status": "new", "redacted": 0}]
    [event] = [event.data for event in parts.publisher.events]
    assert isinstance(event, events.DocumentUpserted)
    assert (event.effective_from, event.stated_by) == (datetime(2026, 3, 1, tzinfo=UTC), "operator")
    assert "the tenant has no documents" in sano("knowledge", "list", "--tenant", TENANT).output
    assert shape(sano("knowledge", "list", "--tenant", TENANT, "--json")) == []
    assert "up to version 1" in sano("knowledge", "remove", "d1", "--tenant", TENANT).output
    dates = ("--from", "2026-03-02", "--until", "2026-03-01")
    assert "--until must be later" in error_line(sano("knowledge", "add", str(file), "--tenant", TENANT, *dates), 1)


def test_a_search_shows_the_passages_that_an_answer_would_be_given_from(
    sano: Sano, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Index(parts)

    @asynccontextmanager
    async def opened(*_: object) -> AsyncIterator[WordEmbedder]:
        yield made.embedder

    async def indexed() -> None:
        later = parts.tenancy.clock() + timedelta(days=1)
        await made.handle(
            await made.upserted("d1", 1, "Apixaban dose is 5 mg."),
            await made.upserted("d2", 1, "Apixaban dose is 9 mg.", begins=later),
            await made.upserted("d3", 1, "Parking is free of charge on Sundays and on holidays."),
            await made.upserted("d4", 1, "The dose of apixaban at night."),
        )

    asyncio.run(indexed())
    monkeypatch.setattr("tenancy.embedding.opening.open_embedder", opened)
    search = ("knowledge", "search", "dose of apixaban", "--tenant", TENANT, "--json")
    found = {one["document_id"]: one for one in shape(sano(*search))}
    assert found.keys() == {"d1", "d4"}
    assert (found["d1"]["version"], found["d1"]["text"]) == (1, "Apixaban dose is 5 mg.")
    asyncio.run(parts.tenancy.states.swap(TENANT, policy_set({"retrieval_passages": 1}, None)))
    assert len(shape(sano(*search))) == 1
    assert len(shape(sano(*search, "--top-k", "2"))) == 2
    assert "at night" in sano(*search[:-1]).output
    listed = [one for one in shape(sano("knowledge", "list", "--tenant", TENANT, "--json")) if one["is_effective"]]
    assert [(one["document_id"], one["passages"]) for one in listed] == [("d1", 1), ("d3", 1), ("d4", 1)]
