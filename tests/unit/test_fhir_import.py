"""FHIR files: what hospitals export becomes redacted proposals and consents, and bad resources stop none."""

from __future__ import annotations

import base64
import io
import json
import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from joserfc.jwk import OKPKey

from producers.sources.fhir.candidates import MOST_PROVENANCES, Finder
from producers.sources.fhir.importing import FhirFiles
from producers.sources.fhir.mapping import Expression, FhirMapping, ProvenanceMapping, read_mapping
from producers.sources.fhir.resources import Resources, moment, relative, version_of
from producers.sources.proposed import propose
from producers.sources.source_key import SourceKey
from schemas.bus.outcome import Outcome
from tenancy.bus import RecordingPublisher
from tenancy.errors import Refused
from tests.fixtures.gates import NAME
from tests.unit.damaged_json import damaged
from tests.unit.fhir_parts import (
    DEMO,
    MAPPING,
    NOW,
    TENANT,
    Json,
    bundle,
    consent,
    imported,
    made_from,
    message,
    proposer,
    provision,
    questionnaire,
    thread,
    written,
)
from tests.unit.operator_parts import onboarded_parts
from tests.unit.proposal_parts import Review


def turns(*resources: Json, of: str) -> list[tuple[str, str]]:
    held = Resources()
    for resource in resources:
        held.add(resource)
    found = held.get(of)
    assert found is not None
    candidate = Finder(held, MAPPING, SourceKey(b"k" * 32), TENANT).candidate(found)
    assert candidate is not None
    return [(one.role, one.content) for one in candidate.messages]


async def test_curation_takes_the_demos_bundle_and_its_consents() -> None:
    held, publisher = await onboarded_parts(TENANT), RecordingPublisher()
    key = OKPKey.import_key(dict(await held.tenancy.keys.public_key(TENANT)))
    made = await propose(of := proposer(publisher, key), FhirFiles([DEMO], MAPPING, of.key, TENANT, NOW))
    assert (len(made.proposals), len(made.consents), made.granted, made.refused) == (4, 2, 1, [])
    outcomes = await Review(held, TENANT).handle(*publisher.events)
    assert outcomes == [Outcome.EFFECT] * 6
    store = await held.tenancy.store(TENANT)
    bodies = [
        json.loads((await store.get(f"contents/{data.example_id}/{data.version}"))[0])["messages"]
        for data in made.proposals
    ]
    assert sorted(len(messages) for messages in bodies) == [2, 4, 4, 4]
    assert [len(data.provenance_ids) for data in made.proposals].count(1) == 1


def test_what_is_said_of_conversations_is_read_once_however_many_there_are() -> None:
    looks, held = 0, Resources()

    def find(resource: Mapping[str, Any], variables: dict[str, Any]) -> list[Any]:
        nonlocal looks
        looks += 1
        return [one["reference"] for one in resource.get("target", ())]

    for number in range(20):
        held.add({**questionnaire(), "id": f"r{number}"})
        target = [{"reference": f"QuestionnaireResponse/r{at}"} for at in {number, 0}]
        held.add({"resourceType": "Provenance", "id": f"p{number}", "target": target})
    provenance = ProvenanceMapping(target=Expression("target", find))
    answers = MAPPING.questionnaire_response
    mapping = FhirMapping.model_validate({"QuestionnaireResponse": answers, "Provenance": provenance})
    finder = Finder(held, mapping, SourceKey(b"k" * 32), TENANT)
    found = [finder.candidate(one) for one in held.of_type("QuestionnaireResponse")]
    assert [len(one.provenance_ids) for one in found if one is not None] == [MOST_PROVENANCES, *[1] * 19]
    assert looks == 20


async def test_an_export_folder_its_manifest_and_a_bundle_are_the_same_events(tmp_path: Path) -> None:
    resources = [*thread(), questionnaire(), consent()]
    whole = written(tmp_path / "bundle.json", json.dumps(bundle(*resources), indent=2))
    folder = tmp_path / "export"
    folder.mkdir()
    output = []
    for number, one in enumerate(resources):
        written(folder / f"{number}.ndjson", one, "")
        output.append({"type": one["resourceType"], "url": f"https://ehr.example/files/{number}.ndjson"})
    ids = []
    manifest = tmp_path / "export" / "manifest.json"
    for paths in ([whole], [folder], [folder / f"{number}.ndjson" for number in range(4)], [manifest], [folder]):
        if paths == [manifest]:
            written(manifest, {"transactionTime": "2026-02-01T00:00:00Z", "output": output, "error": []})
        publisher = RecordingPublisher()
        made = await imported(*paths, publisher=publisher)
        assert made.refused == []
        ids.append(sorted(event.id for event in publisher.events))
    assert len(ids[0]) == 3
    assert ids == [ids[0]] * 5


async def test_nothing_of_a_patient_or_of_the_servers_ids_is_in_an_event() -> None:
    made = await made_from(*thread(), questionnaire(), consent())
    said = "".join(data.model_dump_json() for data in made.events)
    for trace in (NAME, "4482913", "Patient/", "/p1", "expert", "asker", "Practitioner"):
        assert trace not in said
    thread_of, answers = made.proposals
    assert thread_of.author_id == answers.author_id, "the same practitioner"
    assert {data.consent_id for data in made.proposals} == {made.consents[0].consent_id}
    assert made.redacted == 3


async def test_bad_resources_get_a_line_each_without_their_text_and_the_others_go_on(tmp_path: Path) -> None:
    secret = "Whitcombe 4482913"
    path = written(
        tmp_path / "mixed.ndjson",
        thread()[0],
        {**thread()[1], "sent": secret},
        f'{{"resourceType": "Communication", "{secret}',
        {"resourceType": "Communication", "id": "x", secret: 1, "status": "completed"},
        [secret],
        message("a9", secret, "expert", answers="gone"),
        questionnaire(),
        {"resourceType": "Patient", "name": secret},
    )
    publisher = RecordingPublisher()
    made = await imported(path, publisher=publisher)
    assert len(publisher.events) == 1
    assert [str(refusal) for refusal in made.refused] == [
        f"{path}:2: refused: Communication: sent is not what FHIR R4B has there",
        f"{path}:3: refused: it is not JSON, or nested too deep",
        f"{path}:4: refused: Communication: the resource holds an element that FHIR R4B has not",
        f"{path}:5: refused: it is no FHIR resource; a JSON object with a resourceType is one",
        f"{path}:6: refused: Communication: what it answers is not there",
    ]


async def test_a_consent_that_is_not_valid_denies_beside_one_that_permits(tmp_path: Path) -> None:
    path = written(tmp_path / "consents.ndjson", {**consent(provision("deny"), "c2"), "sent": NAME}, consent())
    publisher = RecordingPublisher()
    made = await imported(path, publisher=publisher)
    assert [event.type for event in publisher.events] == ["sano.consent.revoked"]
    assert [refusal.code for refusal in made.refused] == ["bad-resource"]


async def test_a_manifest_says_which_files_are_not_there_and_what_the_server_left_out(tmp_path: Path) -> None:
    written(tmp_path / "QuestionnaireResponse.ndjson", questionnaire())
    output = [{"url": "https://ehr.example/1/QuestionnaireResponse"}, {"url": "https://ehr.example/../../etc/passwd"}]
    written(tmp_path / "manifest.json", {"output": output, "error": [{"url": "x"}], "deleted": [{"url": "x"}]})
    made = await imported(tmp_path, publisher=RecordingPublisher())
    assert len(made.proposals) == 1
    assert [refusal.code for refusal in made.refused] == ["unreadable-file", "unreadable-file", "export-errors"]


@pytest.mark.parametrize("url", ["", "/", "https://ehr.example/", f"https://ehr.example/{'a' * 300}", "a/b\0", "a/.."])
async def test_a_manifest_may_name_a_file_by_anything(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(Path("manifest.json"), {"output": [{"url": url}]})
    made = await imported(path, publisher=RecordingPublisher())
    assert [refusal.code for refusal in made.refused] == ["unreadable-file"]


@pytest.mark.parametrize("by", ["folder", "manifest", "name"])
async def test_no_link_is_followed_to_another_tenants_files(by: str, tmp_path: Path) -> None:
    theirs, inbox = written(tmp_path / "theirs.ndjson", questionnaire()), tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "ours.ndjson").symlink_to(theirs)
    if by == "manifest":
        written(inbox / "manifest.json", {"output": [{"url": "https://ehr.example/ours"}]})
    publisher = RecordingPublisher()
    with pytest.raises(Refused, match="it is a link"):
        await imported(inbox / "ours.ndjson" if by == "name" else inbox, publisher=publisher)
    assert publisher.events == []


@pytest.mark.parametrize("by_manifest", [True, False])
async def test_what_an_export_says_was_deleted_withdraws_the_example_that_came_of_it(
    by_manifest: bool, tmp_path: Path
) -> None:
    before = await made_from(*thread(), questionnaire())
    gone = ["Communication/a1", "https://ehr.example/fhir/QuestionnaireResponse/r1", "Consent/c1", "Patient/p1"]
    entries = [{"request": {"method": "DELETE", "url": url}} for url in [*gone, f"Patient?name={NAME}"]]
    deletions = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    written(tmp_path / "Communication.ndjson", *thread())
    written(tmp_path / "gone.ndjson", deletions, {"resourceType": "Bundle", "type": "transaction"})
    if by_manifest:
        output, said = [{"url": "https://x/Communication.ndjson"}], [{"type": "Bundle", "url": "https://x/gone.ndjson"}]
        written(tmp_path / "manifest.json", {"output": output, "deleted": said})
    publisher = RecordingPublisher()
    made = await imported(tmp_path, publisher=publisher)
    assert made.proposals == [], "what is deleted is not proposed, though an older file has it"
    assert [event.type for event in publisher.events] == ["sano.example.withdrawn"] * 2
    assert {data.example_id for data in made.withdrawals} == {data.example_id for data in before.proposals}
    assert {data.reason_code for data in made.withdrawals} == {"deleted"}
    assert [refusal.code for refusal in made.refused] == ["bad-deletion", "deleted"]
    assert not any(NAME in str(refusal) for refusal in made.refused)


async def test_files_that_are_not_there_end_the_import_before_anything_is_published(tmp_path: Path) -> None:
    publisher = RecordingPublisher()
    with pytest.raises(Refused, match="cannot be read"):
        await imported(DEMO, tmp_path / "gone.json", publisher=publisher)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="holds no"):
        await imported(DEMO, tmp_path / "empty", publisher=publisher)
    assert publisher.events == []


# --- what becomes a conversation


def test_a_thread_is_one_conversation_and_who_began_it_asks() -> None:
    more = [*thread(), message("q2", "And at night?", "asker", answers="a1")]
    more.append(message("a2", "Half.", "expert", answers="q2"))
    more.append(message("a3", "See the chart.", "other", answers="a2"))
    roles = [role for role, _ in turns(*more, of="Communication/a3")]
    assert roles == ["user", "assistant", "user", "assistant"]
    assert turns(*more, of="Communication/a3")[-1][1] == "Half.\nSee the chart."
    without = [{key: value for key, value in one.items() if key != "sender"} for one in more[:2]]
    assert [role for role, _ in turns(*without, of="Communication/a1")] == ["user", "assistant"]


async def test_an_answer_that_a_later_one_goes_on_from_is_no_example_of_its_own() -> None:
    more = [message("q2", "And at night?", "asker", answers="a1"), message("a2", "Half.", "expert", answers="q2")]
    assert len((await made_from(*thread())).proposals) == 1
    assert len((await made_from(*thread(), *more)).proposals) == 1
    assert len((await made_from(*thread(), more[0])).proposals) == 1, "a question without an answer is none"


async def test_a_circle_of_messages_ends() -> None:
    circle = [message("a", "x", "one", answers="b"), message("b", "y", "two", answers="a")]
    made = await made_from(*circle)
    assert [refusal.code for refusal in made.refused] == ["thread-too-long"] * 2


def document(text: str | bytes, **said: Any) -> Json:
    data = base64.b64encode(text.encode() if isinstance(text, str) else text).decode()
    attachment = {"contentType": "text/plain", "data": data}
    return {
        "resourceType": "DocumentReference",
        "id": "d1",
        "status": "current",
        "content": [{"attachment": attachment}],
        **said,
    }


def test_a_document_is_a_transcript_where_lines_carry_the_marks_and_else_the_answer_to_its_description() -> None:
    transcript = document("Head\nQuestion: A?\nmore\n Answer: B.\nQuestion: C?\nAnswer: D.")
    found = turns(transcript, of="DocumentReference/d1")
    assert found == [("user", "A?\nmore"), ("assistant", "B."), ("user", "C?"), ("assistant", "D.")]
    told = turns(document("Two.", description="How many?"), of="DocumentReference/d1")
    assert told == [("user", "How many?"), ("assistant", "Two.")]
    apart = document("", description="How many?")
    apart["content"][0]["attachment"] = {"contentType": "text/plain", "url": "Binary/b1"}
    binary = {"resourceType": "Binary", "id": "b1", "contentType": "text/plain", "data": "VHdvLg=="}
    assert turns(apart, binary, of="DocumentReference/d1") == told


async def test_what_holds_no_conversation_is_passed_over_and_what_cannot_be_one_is_refused() -> None:
    made = await made_from(thread()[0], document("A note."), questionnaire(status="in-progress"))
    assert (made.events, made.passed_over, made.refused) == ([], 3, [])
    items = [{"linkId": str(n), "text": f"Q{n}", "answer": [{"valueString": "A"}]} for n in range(33)]
    for bad in (document(b"\xff", description="q"), questionnaire(item=items)):
        [refusal] = (await made_from(bad)).refused
        assert refusal.code in ("bad-attachment", "too-many-turns")


async def test_what_was_entered_in_error_withdraws_the_example_that_was_made_of_it() -> None:
    [proposed] = (await made_from(questionnaire())).proposals
    [withdrawn] = (await made_from(questionnaire(status="entered-in-error"))).withdrawals
    assert (withdrawn.example_id, withdrawn.reason_code) == (proposed.example_id, "entered-in-error")


def test_references_to_one_resource_are_one_name_however_they_are_written() -> None:
    for said in ("Patient/p1", "https://ehr.example/fhir/Patient/p1", "Patient/p1/_history/4"):
        assert relative(said) == "Patient/p1"
    held = Resources()
    held.add({"resourceType": "Patient", "id": "p1"}, "urn:uuid:1")
    assert held.named("urn:uuid:1") == "Patient/p1"
    assert relative("urn:uuid:2") == "urn:uuid:2"


def test_a_conversations_version_rises_when_any_of_its_messages_does() -> None:
    first, second = {"meta": {"versionId": "1"}}, {"meta": {"versionId": "4"}}
    assert [version_of([first, first]), version_of([first, second])] == [1, 4]
    dated = {"meta": {"versionId": "x", "lastUpdated": "2026-01-01T00:00:00Z"}}
    assert version_of([first, dated]) == 1767225600000
    assert version_of([{}]) == 1
    assert moment("2026") == moment("2026-01-01T00:00:00Z")
    assert moment("2026-12", at_end=True) == moment("2027-01-01")
    assert moment("never") is None


# --- the mapping file


async def test_a_mapping_of_ones_own_reads_a_form_with_a_field_for_the_question_and_one_for_the_answer(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(
        """
QuestionnaireResponse:
  take: "true"
  withdraw: "false"
  turns: "%context"
  question: "item.where(linkId = 'q').answer.valueString"
  answer: "item.where(linkId = 'a').answer.valueString"
"""
    )
    mapping = read_mapping(path)
    assert mapping.types == {"QuestionnaireResponse"}
    items = [
        {"linkId": "q", "answer": [{"valueString": "Which?"}]},
        {"linkId": "a", "answer": [{"valueString": "This."}]},
    ]
    made = await made_from(questionnaire(item=items), *thread(), consent(), mapping=mapping)
    [proposed] = made.proposals
    assert (proposed.author_id, proposed.consent_id, made.consents) == (None, None, [])


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Consent: {consent: 'a..b', purpose: X}", "Consent.consent: is not FHIRPath"),
        ("Consent: {consent: 'nosuch(1)', purpose: X}", "function or a variable"),
        ("Consent: {consent: '%nosuch', purpose: X}", "function or a variable"),
        ("Consent: {purpose: X}", "Consent.consent: Field required"),
        ("Patient: {name: name}", "Patient.system: Field required"),
        ("Observation: {name: name}", "Observation: Extra inputs"),
        ("- x", "valid dictionary"),
        ("a: [", "not YAML"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused_with_its_place(tmp_path: Path, said: str, why: str) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(said)
    with pytest.raises(Refused) as refused:
        read_mapping(path)
    assert refused.value.code == "bad-mapping"
    assert why in str(refused.value)


def test_every_key_of_the_mapping_is_described_on_its_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "fhir.md").read_text()
    for field in FhirMapping.model_fields.values():
        assert f"`{field.alias}`" in page
        section = next(one for one in get_args(field.annotation) if hasattr(one, "model_fields"))
        assert [key for key in section.model_fields if f"`{key}`" not in page] == []


# --- malformed input


@pytest.mark.parametrize("name", ["bundle.json", "export.ndjson"])
async def test_of_five_hundred_damaged_files_none_ends_the_import_with_anything_but_a_refusal_or_is_quoted(
    name: str, tmp_path: Path
) -> None:
    draw, log = random.Random(5), io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    held = [*thread(), questionnaire(), document("A.", description="B?"), consent()]
    good = [bundle(*held)] if name == "bundle.json" else held
    path, publisher, refused = tmp_path / name, RecordingPublisher(), 0
    try:
        for number in range(500):
            bad = draw.randrange(len(good))
            lines = [json.dumps(one).encode() for one in good]
            path.write_bytes(b"\n".join([*lines[:bad], damaged(draw, lines[bad]), *lines[bad + 1 :]]))
            made = await imported(path, publisher=publisher)
            refused += bool(made.refused)
            for refusal in made.refused:
                assert str(refusal).startswith(f"{path}"), number
                assert NAME not in str(refusal)
                assert "\n" not in str(refusal)
    finally:
        logging.getLogger().removeHandler(handler)
    assert refused > 200
    assert all(trace not in log.getvalue() for trace in (NAME, "4482913"))
    assert all(NAME not in event.data.model_dump_json() for event in publisher.events)
