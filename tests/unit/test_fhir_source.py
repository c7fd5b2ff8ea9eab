"""A FHIR server's notifications: nothing is accepted before the bus has it, nothing is missed or quoted."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import logging
import random
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey, OKPKey

from producers.sources.fhir import app as fhir_app
from producers.sources.fhir import receiving
from producers.sources.fhir.answers import ServerUnavailable
from producers.sources.fhir.app import FhirSource
from producers.sources.fhir.positions import Positions
from producers.sources.fhir.resources import Resource, validated
from producers.sources.fhir.server import FhirServer
from producers.sources.fhir.settings import FhirSettings
from producers.sources.fhir.smart import NotAuthorized, read_client_key
from schemas.bus.events import ConsentGranted, ConsentRevoked, ExampleProposed
from schemas.bus.outcome import Outcome
from tenancy.errors import Refused
from tests.fixtures.gates import GATE, NAME
from tests.unit.damaged_json import damaged
from tests.unit.fhir_parts import TENANT, Json, consent, message, provision, questionnaire, thread
from tests.unit.fhir_server_parts import BASE, SUBSCRIPTION, Ehr, Source, notification, reasons
from tests.unit.operator_parts import onboarded_parts
from tests.unit.proposal_parts import Review
from tests.unit.source_parts import Bus, Noting, secret_file, signing, told

ANSWER = {1: ["Communication/a1"]}


def ehr(**said: Any) -> Ehr:
    made = Ehr(**said)
    made.put(*thread(), questionnaire(), consent())
    return made


async def test_a_notification_of_each_payload_becomes_the_same_proposal_and_curation_takes_it() -> None:
    held = await onboarded_parts(TENANT)
    key = OKPKey.import_key(dict(await held.tenancy.keys.public_key(TENANT)))
    ids = set()
    for body in (notification(ANSWER), notification(ANSWER, *thread()), notification({1: []}), as_r4b(ANSWER)):
        source = Source(ehr(events=ANSWER), key=key)
        answer = await source.send(body)
        assert (answer.status_code, reasons(answer)) == (200, ["taken"])
        [event] = source.bus.events
        ids.add(event.id)
    assert len(ids) == 1
    assert await Review(held, TENANT).handle(event) == [Outcome.EFFECT]
    assert isinstance(event.data, ExampleProposed)
    text, _ = await (await held.tenancy.store(TENANT)).get(f"contents/{event.data.example_id}/1")
    assert b"May [PATIENT-1], [MRN-1], have it?" in text


def as_r4b(events: dict[int, list[str]]) -> Json:
    status = {
        "resourceType": "SubscriptionStatus",
        "status": "active",
        "type": "event-notification",
        "eventsSinceSubscriptionStart": str(max(events)),
        "subscription": {"reference": f"Subscription/{SUBSCRIPTION}"},
        "notificationEvent": [
            {"eventNumber": str(number), "focus": {"reference": focus[0]}} for number, focus in events.items()
        ],
    }
    return {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}]}


async def test_nothing_is_accepted_before_the_bus_has_it() -> None:
    bus = Bus()
    bus.gate = asyncio.Event()
    source = Source(ehr(), bus=bus)
    sending = asyncio.create_task(source.send(notification(ANSWER)))
    await asyncio.sleep(0.2)
    assert not sending.done()
    bus.gate.set()
    assert (await sending).status_code == 200
    bus.is_broken = True
    answer = await source.send(notification({2: ["QuestionnaireResponse/r1"]}))
    assert (answer.status_code, reasons(answer), answer.headers["retry-after"]) == (503, ["not-now"], "5")
    assert source.positions.get(SUBSCRIPTION) == 1
    bus.is_broken = False
    assert (await source.send(notification({2: ["QuestionnaireResponse/r1"]}))).status_code == 200
    assert source.types() == ["example.proposed", "example.proposed"]


async def test_a_notification_that_comes_again_is_the_same_event() -> None:
    source = Source(ehr())
    for _ in range(2):
        assert (await source.send(notification(ANSWER))).status_code == 200
    first, second = source.bus.events
    assert first.id == second.id


async def test_a_gap_is_read_before_what_comes_after_it_and_heartbeats_find_gaps_too() -> None:
    events = {1: ["Communication/a1"], 2: ["QuestionnaireResponse/r1"], 3: ["Consent/c1"], 4: ["Patient/p1"]}
    source = Source(ehr(events=events))
    assert (await source.send(notification({}, kind="handshake"))).status_code == 200
    assert source.bus.events == []
    await source.send(notification({1: events[1]}))
    await source.send(notification({3: events[3]}))
    assert source.types() == ["example.proposed", "example.proposed", "consent.granted"]
    assert [one for one in source.ehr.asked if "$events" in one] == [
        f"/Subscription/{SUBSCRIPTION}/$events?eventsSinceNumber=2&eventsUntilNumber=2&content=id-only"
    ]
    source.ehr.events[4] = ["QuestionnaireResponse/r1"]
    await source.send(notification({}, kind="heartbeat", since_start=4))
    assert source.types()[3:] == ["example.proposed"]
    await source.send(notification({}, kind="heartbeat", since_start=4))
    assert (len(source.bus.events), source.positions.get(SUBSCRIPTION)) == (4, 4)


async def test_a_gap_that_cannot_be_read_now_holds_up_what_comes_after_it() -> None:
    source = Source(ehr(events=ANSWER))
    source.ehr.status = 500
    body = notification({2: ["QuestionnaireResponse/r1"]}, questionnaire())
    assert (await source.send(body)).status_code == 503
    assert (source.bus.events, source.positions.get(SUBSCRIPTION)) == ([], None)
    source.ehr.status = None
    assert (await source.send(body)).status_code == 200
    assert len(source.bus.events) == 2


async def test_what_the_server_has_no_more_is_said_and_holds_up_nothing(caplog: pytest.LogCaptureFixture) -> None:
    source = Source(ehr(events={2: ["Communication/a1"]}))
    caplog.set_level(logging.WARNING)
    assert (await source.send(notification({4: ["QuestionnaireResponse/r1"]}))).status_code == 200
    assert len(source.bus.events) == 2
    assert [(record.__dict__["events"], record.__dict__["missing"]) for record in caplog.records] == [(3, 2)]


async def test_where_it_was_is_remembered_across_processes_and_a_new_start_counts_anew(tmp_path: Path) -> None:
    path = tmp_path / "positions.json"
    await Source(ehr(events=ANSWER), positions=Positions(path)).send(notification(ANSWER))
    source = Source(ehr(events=ANSWER), positions=Positions(path))
    await source.send(notification({2: ["QuestionnaireResponse/r1"]}))
    assert not [one for one in source.ehr.asked if "$events" in one]
    await source.send(notification({}, kind="handshake", since_start=0))
    assert Positions(path).get(SUBSCRIPTION) == 0
    path.write_text("[]")
    with pytest.raises(Refused, match="holds no positions"):
        Positions(path)


async def test_a_whole_thread_is_read_for_its_last_answer() -> None:
    source = Source(ehr())
    source.ehr.put(message("q2", "And at night?", "asker", answers="a1"))
    source.ehr.put(message("a2", "Half.", "expert", answers="q2"))
    assert (await source.send(notification({1: ["Communication/a2"]}))).status_code == 200
    assert [one for one in source.ehr.asked if one.startswith("/Communication")] == [
        "/Communication/a2", "/Communication/q2", "/Communication/a1", "/Communication/q1"
    ]  # fmt: skip


async def test_a_patients_other_consents_are_read_since_deny_wins() -> None:
    source = Source(ehr())
    source.ehr.put(consent(provision("permit", "TREAT"), "c2"), consent(provision("deny"), "c3"))
    assert (await source.send(notification({1: ["Consent/c1"]}))).status_code == 200
    assert source.types() == ["consent.revoked"]


async def test_a_deny_that_is_not_valid_and_one_beside_which_only_a_permit_was_sent_are_not_passed_over() -> None:
    for deny in (consent(provision("deny"), "c3"), {**consent(provision("deny"), "c3"), "sent": NAME}):
        for focus, sent in (("Consent/c1", ()), ("QuestionnaireResponse/r1", (questionnaire(), consent()))):
            source = Source(ehr())
            source.ehr.put(deny)
            answer = await source.send(notification({1: [focus]}, *sent))
            assert answer.status_code == 200
            assert reasons(answer) == (["bad-resource"] if "sent" in deny else ["taken"])
            assert "consent.revoked" in source.types()
            assert "consent.granted" not in source.types()


async def test_what_a_notification_holds_is_validated_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    where = dict[str, bool]()

    def noted(resource: Json, types: frozenset[str]) -> Resource | None:
        where[resource["id"]] = threading.current_thread() is threading.main_thread()
        return validated(resource, types)

    monkeypatch.setattr(receiving, "validated", noted)
    answer = await Source(ehr(events=ANSWER)).send(notification(ANSWER, *thread()))
    assert reasons(answer) == ["taken"]
    assert (where["q1"], where["a1"]) == (False, False)


async def test_who_may_not_search_consents_is_held_up_and_who_may_not_search_provenances_is_not() -> None:
    source = Source(ehr(unsearched=frozenset({"Provenance", "Consent"})))
    assert (await source.send(notification(ANSWER))).status_code == 200
    assert (await source.send(notification({2: ["Consent/c1"]}))).status_code == 503
    assert source.types() == ["example.proposed"]


async def test_what_was_deleted_withdraws_its_example_and_a_deleted_consent_is_said() -> None:
    source = Source(ehr())
    await source.send(notification({1: ["QuestionnaireResponse/r1"]}))
    source.ehr.resources |= {"QuestionnaireResponse/r1": {}, "Consent/c9": {}}
    answer = await source.send(notification({2: ["QuestionnaireResponse/r1"], 3: ["Consent/c9"]}))
    assert (answer.status_code, reasons(answer)) == (200, ["deleted"])
    proposed, withdrawn = source.bus.events
    assert withdrawn.data.example_id == proposed.data.example_id
    assert withdrawn.type == "sano.example.withdrawn"


@pytest.mark.parametrize(("other", "word"), [(None, "consent.revoked"), ("permit", "consent.granted")])
async def test_a_consent_that_was_deleted_is_inactive_where_the_server_keeps_its_history(
    other: str | None, word: str
) -> None:
    source = Source(ehr())
    await source.send(notification({1: ["Consent/c1"]}))
    source.ehr.resources["Consent/c1"] = {}
    deleted = {"request": {"method": "DELETE"}, "response": {"lastModified": "2026-03-01T08:00:00Z"}}
    source.ehr.histories["Consent/c1/_history"] = {"entry": [deleted, {"resource": consent()}]}
    if other is not None:
        source.ehr.put(consent(provision(other), "c2"))
    for _ in range(2):
        answer = await source.send(notification({2: ["Consent/c1"]}))
        assert (answer.status_code, reasons(answer)) == (200, ["taken"])
    granted, *again = source.bus.events
    assert granted.type == "sano.consent.granted"
    assert {event.type for event in again} == {f"sano.{word}"}
    assert len({event.id for event in again}) == 1, "the same word, however often it comes"
    assert isinstance(granted.data, ConsentGranted)
    for event in again:
        assert isinstance(event.data, ConsentGranted | ConsentRevoked)
        assert event.data.consent_id == granted.data.consent_id
        assert event.data.version > granted.data.version


async def test_a_bad_resource_is_refused_in_the_answer_without_its_text_and_the_others_go_on() -> None:
    source = Source(ehr())
    bad = {**message("a9", NAME, "expert", answers="q1"), "sent": NAME}
    focus = ["Communication/a9", "Communication/gone", "QuestionnaireResponse/r1", "Observation/x"]
    source.ehr.put(bad)
    answer = await source.send(notification({1: focus}))
    assert answer.status_code == 200
    assert reasons(answer) == ["bad-resource", "not-there"]
    assert NAME not in answer.text
    assert len(source.bus.events) == 1


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (notification(ANSWER), {"Authorization": ""}, (401, "not-authenticated")),
        (notification(ANSWER), {"Authorization": "Bearer other"}, (401, "not-authenticated")),
        (notification(ANSWER), {"Content-Type": "application/fhir+xml"}, (415, "not-json")),
        (b"x" * 100_001, {}, (413, "too-large")),
        (b"{", {}, (400, "bad-json")),
        (b"\xff", {}, (400, "bad-json")),
        (b"[" * 2000, {}, (400, "bad-json")),
        ([], {}, (422, "not-a-notification")),
        ({**notification(ANSWER), "type": "batch"}, {}, (422, "not-a-notification")),
        ({"resourceType": "Bundle", "type": "history", "entry": []}, {}, (422, "bad-entries")),
        ({"resourceType": "Bundle", "type": "history", "entry": [{"resource": {}}]}, {}, (422, "no-status")),
        (notification(ANSWER, kind="party"), {}, (422, "bad-type")),
        (notification({}), {}, (422, "no-events")),
        (notification(ANSWER, subscription="a/../b"), {}, (422, "bad-subscription")),
        (notification({number: [] for number in range(1, 1003)}), {}, (422, "too-many-events")),
    ],
)
async def test_what_is_no_notification_is_refused_with_its_status(
    body: Any, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    source = Source()
    answer = await source.send(body, **headers)
    assert (answer.status_code, reasons(answer)) == (expected[0], [expected[1]])
    assert (source.bus.events, source.ehr.asked) == ([], [])


async def test_a_source_that_is_not_ready_yet_asks_for_another_try() -> None:
    source = Source()
    source.receiver = None
    assert (await source.send(notification(ANSWER))).status_code == 503


async def test_five_hundred_damaged_notifications_are_each_answered_quote_nothing_and_leave_the_source_alive() -> None:
    draw, log = random.Random(7), io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    good = json.dumps(notification({1: ["Communication/a1", "Consent/c1"]}, *thread(), consent())).encode()
    statuses = []
    try:
        source = Source(ehr(events=ANSWER))
        for number in range(500):
            answer = await source.send(damaged(draw, good))
            statuses.append(answer.status_code)
            assert answer.status_code in (200, 400, 422), (number, answer.text)
            assert reasons(answer), number
            assert NAME not in answer.text
            assert "4482913" not in answer.text
        assert (await source.send(good)).status_code == 200
    finally:
        logging.getLogger().removeHandler(handler)
    assert min(statuses.count(status) for status in (200, 400, 422)) > 30
    assert all(trace not in log.getvalue() for trace in (NAME, "4482913", "notification failed"))
    assert all(NAME not in event.data.model_dump_json() for event in source.bus.events)


# --- reads of the server


async def test_reads_carry_a_token_for_which_a_signed_assertion_was_given_and_a_refused_one_is_renewed_once() -> None:
    source = Source(ehr(needs_token=True))
    assert (await source.send(notification(ANSWER))).status_code == 200
    assert source.ehr.tokens == 1, "one for all reads"
    source.ehr.tokens += 1  # the server has forgotten the first
    assert (await source.send(notification(ANSWER))).status_code == 200
    assert source.ehr.tokens == 3


async def test_a_server_that_gives_no_token_is_asked_again_later() -> None:
    held = Ehr(needs_token=True, status=400)
    backend = held.backend(held.client())
    with pytest.raises(NotAuthorized, match="status 400"):
        await backend.token()
    held.status = None
    now = [0.0]
    backend = held.backend(held.client(), now=lambda: now[0])
    assert await backend.token() == await backend.token() == "token-1"
    now[0] = 280.0
    assert await backend.token() == "token-2"


async def test_no_address_but_the_servers_is_read() -> None:
    held = Ehr()
    server = FhirServer(held.client(), BASE)
    for name in ("Patient/../x", "Patient/a?b", "../Patient/x", "Patient/", "http:/x"):
        with pytest.raises(Refused):
            await server.read(name)
    assert held.asked == []

    def elsewhere(_: httpx.Request) -> httpx.Response:
        link = [{"relation": "next", "url": f"{BASE}.elsewhere.example/Consent"}]
        return httpx.Response(200, json={"resourceType": "Bundle", "link": link})

    client = httpx.AsyncClient(transport=httpx.MockTransport(elsewhere))
    with pytest.raises(Exception, match="another server"):
        await FhirServer(client, BASE).search("Consent", {"patient": "Patient/p1"})


async def test_a_compressed_answer_is_none_before_a_few_bytes_of_it_become_gigabytes() -> None:
    def compressed(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "identity"
        twice = gzip.compress(gzip.compress(json.dumps({"resourceType": "Patient", "id": "p1"}).encode()))
        return httpx.Response(200, headers={"content-encoding": "gzip, gzip"}, stream=httpx.ByteStream(twice))

    client = httpx.AsyncClient(transport=httpx.MockTransport(compressed))
    with pytest.raises(ServerUnavailable, match="Patient"):
        await FhirServer(client, BASE).read("Patient/p1")


def test_a_client_key_is_a_private_one_with_a_name(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    private = ECKey.generate_key("P-384", {"kid": "k1"})
    path.write_text(json.dumps(private.as_dict(private=True)))
    assert read_client_key(path).kid == "k1"
    unnamed = ECKey.generate_key("P-384").as_dict(private=True)
    wrongs: list[Any] = [
        private.as_dict(private=False),
        {key: value for key, value in unnamed.items() if key != "kid"},
        ECKey.generate_key("P-256", {"kid": "k"}).as_dict(private=True),
        {"kty": "oct", "k": "x"},
        [],
    ]
    for wrong in wrongs:
        path.write_text(json.dumps(wrong))
        with pytest.raises(Refused, match="no key of a backend service"):
            read_client_key(path)


# --- the process


def settings(tmp_path: Path, **said: Any) -> FhirSettings:
    token = secret_file(tmp_path / "token")
    return FhirSettings(**{**told(tmp_path), "fhir_base_url": BASE, "fhir_token_file": token, **said})


def test_a_file_that_is_not_what_it_should_be_ends_the_start_in_one_line(tmp_path: Path) -> None:
    assert FhirSource.of(settings(tmp_path)).bearer == base64.b64encode(bytes(32)).decode()
    bad = tmp_path / "bad"
    bad.write_text("x: [")
    for setting in ("fhir_mapping_file", "fhir_position_file", "fhir_token_file", "source_jwk_file"):
        with pytest.raises(Refused):
            FhirSource.of(settings(tmp_path, **{setting: bad}))
    with pytest.raises(Refused, match="SANO_FHIR_TOKEN_FILE"):
        FhirSource.of(settings(tmp_path, fhir_token_file=tmp_path / "none"))
    with pytest.raises(ValueError, match="go together"):
        settings(tmp_path, fhir_client_id="x")


async def test_the_process_signs_what_it_publishes_and_is_ready_while_the_bus_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or an installation whose publishers all sign would dead-letter every proposal."""
    key_id, signs = signing(tmp_path / "keys")
    client_key = tmp_path / "client.json"
    client_key.write_text(json.dumps(ECKey.generate_key("P-384", {"kid": "k1"}).as_dict(private=True)))
    source = FhirSource.of(settings(tmp_path, **signs, fhir_client_id="client-1", fhir_client_key_file=client_key))
    monkeypatch.setattr(Noting, "given", [])
    monkeypatch.setattr(fhir_app, "KafkaPublisher", Noting)
    monkeypatch.setattr(fhir_app, "standard_gate", lambda: GATE)
    assert not await source.is_ready()
    async with source.running():
        assert source.receiver is not None
        assert source.receiver.server.authorization is not None
        assert await source.is_ready()
        monkeypatch.setattr(Noting, "does_answer", False)
        assert not await source.is_ready()
    assert source.receiver is None
    [signer] = Noting.given
    assert signer is not None
    assert signer.signer.key_id == key_id
