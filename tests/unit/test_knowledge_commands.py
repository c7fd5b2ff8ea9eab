"""``sano knowledge``: documents are redacted and sealed, and events name them; the same again says the same again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from producers.commands.knowledge import AddedDocument, Effect, add_documents, remove_document
from producers.queries.knowledge import documents
from schemas.bus import events
from schemas.bus.content import DocumentContent
from schemas.objects import object_keys
from schemas.objects.knowledge import DocumentEntry, KnowledgeSet
from tenancy.errors import Refused, TenantFenced
from tenancy.knowledge.published import publish
from tenancy.tenant_id import TenantId
from tests.fixtures.documents import read_file_here
from tests.fixtures.gates import GATE, NAME, gate_of_tests
from tests.unit.operator_parts import Parts, onboarded_parts

TENANT = TenantId("t1")
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
async def made() -> Parts:
    return await onboarded_parts(TENANT)


def written(folder: Path, text: str, name: str = "formulary.md") -> Path:
    path = folder / name
    path.write_text(text)
    return path


async def added(parts: Parts, *files: Path, **changes: object) -> list[AddedDocument]:
    options: dict[str, object] = {"gate": gate_of_tests, "read": read_file_here, **changes}
    return await add_documents(files, TENANT, parts.tenancy, **options)  # type: ignore[arg-type]


def told(parts: Parts) -> list[events.DocumentUpserted]:
    return [event.data for event in parts.publisher.events if isinstance(event.data, events.DocumentUpserted)]


async def test_a_document_is_redacted_before_it_is_sealed_and_the_event_holds_none_of_it(
    made: Parts, tmp_path: Path
) -> None:
    [one] = await added(made, written(tmp_path, f"# Of {NAME}\n\nCall {NAME}, 4482913.\n"))
    assert (one.version, one.status, one.redacted) == (1, "new", 4)
    [event] = told(made)
    assert event.gate is not None
    assert (event.gate.gate, event.gate.verdict, event.stated_by) == (GATE.name, "clean", None)
    store = await made.tenancy.store(TENANT)
    content, _ = await store.get_record(object_keys.document(one.document_id, 1), DocumentContent)
    assert content.title == "Of [PATIENT-1]"
    assert [block.text for block in content.blocks] == ["Of [PATIENT-1]", "Call [PATIENT-1], [MRN-1]."]
    assert content.commitment() == event.content.commitment
    assert NAME not in event.model_dump_json()
    assert "formulary" not in one.document_id, "a file's name may say anything"
    assert all(b"PATIENT" not in (v.body or b"") for versions in made.objects.objects.values() for v in versions)


async def test_an_operator_who_states_that_nobody_can_be_identified_is_named_for_it(
    made: Parts, tmp_path: Path
) -> None:
    await added(made, written(tmp_path, "From 1 March 2026: 5 mg."), gate=None, stated_by="op-7")
    [event] = told(made)
    assert (event.gate, event.stated_by) == (None, "op-7")


async def test_the_same_text_again_is_the_same_event_and_another_one_the_next_version(
    made: Parts, tmp_path: Path
) -> None:
    for text in ("5 mg", "5 mg", "10 mg", "10 mg", "5 mg"):
        await added(made, written(tmp_path, text))
    ids = [event.id for event in made.publisher.events]
    assert [event.version for event in told(made)] == [1, 1, 2, 2, 1]
    assert len(set(ids)) == 2
    await publish_entry(made, told(made)[0].document_id, DocumentEntry(version=2, status="present", event_id=ids[2]))
    [one] = await added(made, written(tmp_path, "5 mg"))
    assert (one.version, one.status) == (3, "new"), "what counts now is another text"


async def publish_entry(parts: Parts, document_id: str, entry: DocumentEntry) -> None:
    store = await parts.tenancy.store(TENANT)
    base = await parts.tenancy.active(TENANT)
    generation = 1 if base.state.knowledge is None else base.state.knowledge.generation + 1
    made = KnowledgeSet(generation=generation, documents={document_id: entry})
    await publish(parts.tenancy.states, store, base, made)


async def test_other_dates_of_the_same_text_are_a_version_of_their_own(made: Parts, tmp_path: Path) -> None:
    file = written(tmp_path, "5 mg")
    [first] = await added(made, file)
    entry = DocumentEntry(version=1, status="present", event_id=made.publisher.events[0].id, title="t", passages=1)
    await publish_entry(made, first.document_id, entry)
    [again] = await added(made, file)
    [later] = await added(made, file, effect=Effect(begins=MARCH))
    assert [again.version, later.version] == [1, 2]
    assert told(made)[-1].effective_from == MARCH


async def test_one_file_that_cannot_be_read_leaves_nothing_of_the_others(made: Parts, tmp_path: Path) -> None:
    before = sorted(made.objects.objects)
    with pytest.raises(Refused):
        await added(made, written(tmp_path, "a", "a.md"), written(tmp_path, "b", "b.exe"))
    with pytest.raises(Refused, match="same name"):
        (tmp_path / "x").mkdir()
        await added(made, written(tmp_path, "a", "a.md"), written(tmp_path / "x", "b", "a.md"))
    with pytest.raises(Refused, match="one document"):
        await added(made, written(tmp_path, "a", "a.md"), written(tmp_path, "b", "b.md"), document_id="d1")
    assert sorted(made.objects.objects) == before
    assert told(made) == []


async def test_a_removal_names_the_highest_version_that_was_added(made: Parts, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no such document"):
        await remove_document(made.tenancy, TENANT, "d1")
    for text in ("5 mg", "10 mg"):
        await added(made, written(tmp_path, text), document_id="d1")
    removed = await remove_document(made.tenancy, TENANT, "d1")
    assert (removed.document_id, removed.version) == ("d1", 2)
    await publish_entry(made, "d1", DocumentEntry(version=7, status="removed", event_id="e"))
    assert (await remove_document(made.tenancy, TENANT, "d1")).version == 7
    assert await documents(made.tenancy, TENANT) == [], "what is removed is not listed"


async def test_nothing_is_added_for_a_fenced_tenant(made: Parts, tmp_path: Path) -> None:
    await made.tenancy.states.swap(TENANT, lambda state: state.evolve(status="purging"))
    before = sorted(made.objects.objects)
    with pytest.raises(TenantFenced):
        await added(made, written(tmp_path, "5 mg"))
    assert sorted(made.objects.objects) == before
