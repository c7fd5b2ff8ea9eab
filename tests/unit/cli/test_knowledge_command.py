"""``sano knowledge``, as it is typed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumers.ledger.audit_facts import actor, facts
from producers.queries.document_lineage import LATEST_VERSIONS, DocumentLineage, document_lineage
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.evidence.audit import AuditEntry
from tenancy.audit.log import AuditRecord, Facts
from tenancy.audit.pseudonyms import Pseudonyms
from tenancy.state.policy_changes import policy_set
from tenancy.storage.objects import StoredObject
from tests.fixtures.embedders import WordEmbedder
from tests.fixtures.gates import GATE, NAME
from tests.unit.cli.command import TENANT, Sano, error_line, shape
from tests.unit.knowledge.index_parts import Documents, Index
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
    assert made.embedder.kinds[-2:] == ["passage", "query"]
    assert (found["d1"]["version"], found["d1"]["text"]) == (1, "Apixaban dose is 5 mg.")
    asyncio.run(parts.tenancy.states.swap(TENANT, policy_set({"retrieval_passages": 1}, None)))
    assert len(shape(sano(*search))) == 1
    assert len(shape(sano(*search, "--top-k", "2"))) == 2
    assert "at night" in sano(*search[:-1]).output
    listed = [one for one in shape(sano("knowledge", "list", "--tenant", TENANT, "--json")) if one["is_effective"]]
    assert [(one["document_id"], one["passages"]) for one in listed] == [("d1", 1), ("d3", 1), ("d4", 1)]


def test_lineage_tells_who_said_each_version_what_counts_since_when_and_what_is_left(sano: Sano, parts: Parts) -> None:
    made = Index(parts)
    command = ("knowledge", "lineage", "--tenant", TENANT)

    async def told() -> None:
        known = Pseudonyms.derived((await parts.tenancy.keys.open(TENANT)).data_key)

        async def enter(event: Event[Documents], kind: str | None = None, about: str | None = None) -> AuditEntry:
            said: Facts = facts(event.data, known) if about is None else {"about": about}
            kind = kind or event.type.removeprefix("sano.")
            record = AuditRecord(f"{event.id}{about or ''}", kind, event.time, actor(event, known), said)
            return (await parts.tenancy.audit.append(TENANT, record)).entry

        first, second = await made.inline("d1", 1, "5 mg", stated_by="op-1"), await made.upserted("d1", 2, "10 mg")
        removed, refused = made.removed("d1", 2), await made.inline("d1", 4, f"Call {NAME}.")
        for event in (first, first, second, await made.inline("d2", 1, "House word." + "x " * 400)):
            await made.handle(event)
            await enter(event)
        parts.now += timedelta(hours=1)
        await made.handle(removed, second, removed)
        await enter(removed)
        refusal = await enter(refused, "event.refused", (await enter(refused)).tag)
        await parts.tenancy.audit.note_refusal(TENANT, refused.id, refusal)
        await enter(await made.upserted("d1", 5, "15 mg"))

    asyncio.run(told())
    found = shape(sano(*command, "d1", "--json"))
    said = [(one["version"], one["said"], one["standing"], one["gate"], one["stated_by"]) for one in found["said"]]
    assert said == [
        (1, "upserted", "over", None, "op-1"),
        (2, "upserted", "over", None, None),
        (2, "removed", "counts", None, None),
        (4, "upserted", "refused", None, None),
        (5, "upserted", "pending", None, None),
    ]
    assert found["gate"] is None
    assert {one["by"] for one in found["said"]} == {"service operators"}
    assert found["event_id"] == found["said"][2]["event_id"] == made.removed("d1", 2).id
    assert (found["status"], found["version"], found["generation"], found["published_generation"]) == (
        "removed",
        2,
        4,
        4,
    )
    assert datetime.fromisoformat(found["since"]) == made.removed("d1", 2).time
    assert (found["segment"], found["passages"]) == (None, 0)
    assert found["sealed_texts"] == [5], "uploaded, and not taken yet"
    whole = shape(sano(*command, "--json"))
    assert (whole["documents"], whole["removed"]) == (1, 1)
    assert whole["digest"] == found["published_set"]
    [segment] = whole["segments"]
    other = shape(sano(*command, "d2", "--json"))
    assert (segment["digest"], segment["holds"][0]["passages"]) == (other["segment"], other["passages"])
    assert other["gate"] == f"{GATE.name}/{GATE.version}", "ours judged what came inline, and the event names none"
    assert [(one["document_id"], one["version"], one["passages"]) for one in segment["holds"]] == [("d2", 1, 2)]
    for shown in (sano(*command, "d1").output, sano(*command, "d2").output, sano(*command).output):
        assert "mg" not in shown and "House" not in shown and "Formulary" not in shown, "no text and no title"
    assert "no such document" in error_line(sano(*command, "d9"), 1)
    asyncio.run(parts.tenancy.states.swap(TENANT, lambda state: state.evolve(status="purging")))
    for arguments in (command, (*command, "d1")):
        assert "purged or being purged" in error_line(sano(*arguments), 1)


async def test_the_latest_of_a_document_costs_the_same_however_long_the_log_and_large_the_index(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, reads = Index(parts), list[str]()
    known = Pseudonyms.derived((await parts.tenancy.keys.open(TENANT)).data_key)
    get = parts.objects.get

    async def counted(key: str) -> StoredObject:
        reads.append(key)
        return await get(key)

    async def told(document_id: str, version: int) -> None:
        event = await made.upserted(document_id, version, "5 mg")
        await made.handle(event)
        record = AuditRecord(event.id, "document.upserted", event.time, actor(event, known), facts(event.data, known))
        await parts.tenancy.audit.append(TENANT, record)

    async def looked() -> tuple[DocumentLineage, int]:
        reads.clear()
        return await document_lineage(parts.tenancy, TENANT, "d1"), len(reads)

    for version in (1, 2):
        await told("d1", version)
    monkeypatch.setattr(parts.objects, "get", counted)
    before, few = await looked()
    assert [(one.version, one.standing) for one in before.said] == [(1, "over"), (2, "counts")]
    for number in range(30):
        await told(f"other-{number}", 1)
    after, as_few = await looked()
    assert (after.said, as_few) == (before.said, few)
    for version in range(3, 2 + 2 * LATEST_VERSIONS):
        await told("d1", version)
    latest, most = await looked()
    assert [one.version for one in latest.said] == list(range(2 + LATEST_VERSIONS, 2 + 2 * LATEST_VERSIONS))
    assert most <= few + 4 * LATEST_VERSIONS
    assert not any(key.startswith("audit/t1/entries/000000000003") for key in reads)
