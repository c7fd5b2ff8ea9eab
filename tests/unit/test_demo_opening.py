"""The demo's opening: what a ward holds in the clear is redacted in its sources, approved on the page, and nowhere."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from producers.demo import opening, ward
from producers.demo.cast import DATA
from producers.demo.searching import Place, Search, bucket, files, opened
from schemas.objects import object_keys
from schemas.objects.training import TrainingSet
from tenancy.redaction.standard import standard_gate
from tests.unit.review_page_parts import Desk, OfWorld
from tests.world.world import POLICY, World

TRAIN = DATA / "oncology.train.jsonl"
LINES = TRAIN.read_text().splitlines()


async def searched(*places: AsyncIterator[Place]) -> Search:
    found = Search(ward.identifiers())
    for each in places:
        await found.look_at_all(each)
    return found


async def test_the_ward_is_redacted_in_its_sources_approved_on_the_page_trained_on_and_found_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gate = standard_gate()
    monkeypatch.setattr("tests.world.world.gate_of_tests", lambda: gate)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    world = World(tmp_path / "world")
    tenant = await world.onboard("t1", POLICY.evolve(min_new_examples=8))
    conversations = opening.split(TRAIN, scratch / "others.jsonl")

    proposer = await opening.proposer_of(world.outside, tenant, gate)
    await opening.export_read(proposer, conversations, scratch)
    await opening.feed_sent(proposer, conversations)
    await world.settle()
    views = await opening.proposed(world.outside, tenant)
    assert Counter(view.source for view in views) == opening.SOURCES
    assert all(view.redacted for view in views)

    desk = Desk(OfWorld(world), url="http://127.0.0.1:9")
    looked: list[None] = []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(desk.app), base_url=desk.url) as client:
        reviewer = opening.Reviewer(client)
        await reviewer.sign_in(f"{desk.url}/sign-in/link#{desk.link(person='rev-demo')}")
        assert await reviewer.approve_all(lambda: looked.append(None)) == len(looked) == 8
    await world.settle()
    await opening.decided(world.outside, tenant)

    run = (await world.state(tenant)).runs["batch-1"]
    assert run.training_set_id is not None
    store = await world.outside.store(tenant)
    frozen, _ = await store.get_record(object_keys.training_set(run.training_set_id), TrainingSet)
    assert {entry.example_id for entry in frozen.entries} == {view.example_id for view in views}, "the third look too"

    found = await searched(bucket(world.outside), opened(world.outside, tenant), files(scratch))
    assert (found.found, found.places > 40) == ([], True)
    said = Search(ward.identifiers())
    for number, text in enumerate((*reviewer.pages, caplog.text, *_messages(world))):
        said.look((f"said {number}", text.encode()))
    assert said.found == []
    assert sum("[MRN-1]" in page for page in reviewer.pages) == 2, "not blind"
    ids = Search(view.example_id for view in views)
    await ids.look_at_all(opened(world.outside, tenant))
    assert len(ids.found) >= 8, "nor deaf"


def _messages(world: World) -> list[str]:
    return [event.data.model_dump_json() for log in world.bus.topics.values() for event in log]


def test_what_the_ward_holds_the_import_leaves_out_and_the_rest_it_has_word_for_word(tmp_path: Path) -> None:
    """So that the adapter is trained on as many examples as the file has."""
    held = opening.split(TRAIN, tmp_path / "others.jsonl")
    others = (tmp_path / "others.jsonl").read_text().splitlines()
    assert set(held) == ward.EXAMPLES
    assert len(held) + len(others) == len(LINES)
    assert [line for line in LINES if json.loads(line)["example_id"] not in ward.EXAMPLES] == others


def test_of_the_wards_answers_nothing_is_redacted_and_of_its_notes_every_identifier(tmp_path: Path) -> None:
    gate = standard_gate()
    for name, messages in opening.split(TRAIN, tmp_path / "others.jsonl").items():
        note, names = {**ward.FHIR_CASES, **ward.HL7_CASES}[name]
        asked = messages[0].model_copy(update={"content": f"{note} {messages[0].content}"})
        question, answer = gate.redact([asked, messages[-1]]).messages
        assert question.content.endswith(messages[0].content), name
        assert answer == messages[-1], name
        assert all(part.lower() not in question.content.lower() for part in names), name


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("MRN 5520417.", True),
        ("l.WHITCOMBE@examplemail.org", True),
        ("a5520417b", False),
        ("15520417", False),
        ("nobody", False),
    ],
)
def test_the_search_finds_what_stands_alone_in_texts_and_in_names(text: str, is_found: bool) -> None:
    for place in ((text, b""), ("somewhere", text.encode())):
        found = Search(ward.identifiers())
        found.look(place)
        assert bool(found.found) == is_found


@pytest.mark.parametrize("dataset", ["oncology", "paediatrics"])
def test_of_the_imported_questions_the_gate_holds_up_none(dataset: str) -> None:
    """Or a run would leave some of them out, and its lineage would not list what was approved."""
    gate = standard_gate()
    for line in (DATA / f"{dataset}.train.jsonl").read_text().splitlines():
        approved = json.loads(line)
        for message in approved["messages"]:
            assert not gate.scan(message["content"]), approved["example_id"]
