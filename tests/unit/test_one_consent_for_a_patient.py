"""Where the mapping names a patient's identifier, FHIR and HL7 v2 are under one consent, and deny wins for both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from producers.sources.fhir.mapping import DEFAULT, FhirMapping, read_mapping
from producers.sources.mllp.conversations import Codes, candidate_of
from producers.sources.mllp.message import read_message
from producers.sources.source_key import SourceKey
from schemas.bus.events import ConsentGranted, ConsentRevoked
from tests.unit.fhir_parts import TENANT, Json, consent, made_from, message, provision, thread
from tests.unit.fhir_server_parts import Ehr, Source, notification, reasons

SYSTEM = "urn:oid:1.2.36.146.595.217.0.1"
NUMBER = "4482913"
ONE = FhirMapping.model_validate(
    {**yaml.safe_load(DEFAULT.read_text()), "Patient": {"system": SYSTEM, "authority": "MRN"}}
)
ELSEWHERE = {"reference": "Patient/p2"}


def patient(name: str = "p1", *values: str, **said: Any) -> Json:
    found = [{"system": SYSTEM, "value": value} for value in values or (NUMBER,)]
    others = [{"system": "urn:oid:9", "value": "other"}, {"system": SYSTEM, "value": "earlier", "use": "old"}]
    return {"resourceType": "Patient", "id": name, "identifier": [*others, *found], **said}


def of_hl7() -> str:
    """The consent of the same patient's message, as the HL7 source names it."""
    segments = (
        r"MSH|^~\&|EHR|WARD9|SANO|X|20260301||MDM^T02|m1|P|2.5.1",
        f"PID|1||{NUMBER}^^^MRN&1.2.36&ISO",
        "OBX|1|TX|QUESTION||How much?",
        "OBX|2|TX|ANSWER||One.",
    )
    message_of_hl7 = read_message("\r".join(segments).encode())
    found = candidate_of(message_of_hl7, Codes(), SourceKey(b"k" * 32), TENANT)
    assert found is not None
    assert found.consent_id is not None
    return found.consent_id


def decided(events: list[Any]) -> dict[str, type]:
    return {data.consent_id: type(data) for data in events if isinstance(data, ConsentGranted | ConsentRevoked)}


async def test_a_patient_has_one_consent_in_fhir_and_hl7_and_what_came_under_the_reference_stays_under_it() -> None:
    earlier = await made_from(*thread(), consent(provision("deny")))
    made = await made_from(*thread(), patient(), consent(provision("deny")), mapping=ONE)
    [proposed] = made.proposals
    assert proposed.consent_id == of_hl7()
    [before] = earlier.proposals
    assert decided(made.consents).items() >= {of_hl7(): ConsentRevoked, before.consent_id: ConsentRevoked}.items()
    assert made.refused == []


async def test_two_patients_of_one_identifier_are_one_and_deny_wins() -> None:
    permit, deny = consent(name="c1"), consent(provision("deny"), "c2", patient=ELSEWHERE)
    made = await made_from(patient(), patient("p2"), permit, deny, mapping=ONE)
    assert decided(made.consents)[of_hl7()] is ConsentRevoked


@pytest.mark.parametrize(
    ("held", "why"),
    [
        ([], "the Patient whose identifier names the consent is not there"),
        ([patient(identifier=[])], "Patient: it has no identifier of the mapping's system"),
    ],
)
async def test_who_cannot_be_identified_is_refused_and_denies_under_the_reference(held: list[Json], why: str) -> None:
    made = await made_from(*thread(), *held, consent(provision("deny")), mapping=ONE)
    assert made.proposals == []
    assert {refusal.code for refusal in made.refused} == {"no-identifier"}
    assert all(why in str(refusal) and NUMBER not in str(refusal) for refusal in made.refused)
    assert list(decided(made.consents).values()) == [ConsentRevoked]


def corrected() -> Json:
    """The patient, whose number was another one once."""
    return {
        **patient("p1", "9"),
        "identifier": [{"system": SYSTEM, "value": NUMBER, "use": "old"}, {"system": SYSTEM, "value": "9"}],
    }


@pytest.mark.parametrize(
    "held",
    [patient("p1", NUMBER, "9"), corrected(), {**patient(), "gender": {"not": "valid"}}],
    ids=["2", "old", "bad"],
)
async def test_a_denial_holds_for_every_number_that_the_patient_has_or_had_and_a_permit_for_the_one(held: Json) -> None:
    made = await made_from(held, consent(provision("deny")), mapping=ONE, damaged=True)
    assert decided(made.consents)[of_hl7()] is ConsentRevoked
    made = await made_from(held, consent(), mapping=ONE, damaged=True)
    assert of_hl7() not in decided(made.consents)


async def test_a_deleted_patients_deleted_consent_revokes_by_the_number_that_the_history_has() -> None:
    ehr = Ehr()
    ehr.resources |= {"Patient/p1": {}, "Consent/c1": {}}
    ehr.histories["Consent/c1/_history"] = {"entry": [{"resource": consent()}]}
    ehr.histories["Patient/p1/_history"] = {"entry": [{"resource": patient()}]}
    source = Source(ehr, mapping=ONE)
    await source.send(notification({1: ["Consent/c1"]}))
    assert decided([event.data for event in source.bus.events])[of_hl7()] is ConsentRevoked


async def test_a_patient_who_gets_the_number_of_another_brings_the_denial_with_it() -> None:
    """By a notification about the Patient alone; an outdated copy in it counts for nothing."""
    ehr = Ehr()
    ehr.put(patient(), corrected() | {"id": "p2"}, consent(), consent(provision("deny"), "c2", patient=ELSEWHERE))
    source = Source(ehr, mapping=ONE)
    await source.send(notification({1: ["Patient/p1"]}, patient("p1", "8")))
    said = decided([event.data for event in source.bus.events])
    assert said[of_hl7()] is ConsentRevoked
    assert SourceKey(b"k" * 32).consent_id(TENANT, ("8", "MRN")) not in said


async def test_a_notification_reads_the_patient_and_the_consents_of_all_of_that_identifier() -> None:
    ehr = Ehr()
    deny = consent(provision("deny"), "c2", patient=ELSEWHERE)
    ehr.put(*thread(), patient(), patient("p2"), consent(), deny)
    source = Source(ehr, mapping=ONE)
    answer = await source.send(notification({1: ["Communication/a1"], 2: ["Consent/c1"]}))
    assert (answer.status_code, reasons(answer)) == (200, ["taken"])
    said = [event.data for event in source.bus.events]
    assert decided(said)[of_hl7()] is ConsentRevoked
    assert [getattr(data, "consent_id", None) for data in said].count(of_hl7()) == 2
    assert "/Patient/_search" in ehr.asked
    assert not [url for url in ehr.asked if NUMBER in url]


async def test_a_notification_of_an_unknown_patient_is_refused_without_a_name() -> None:
    ehr = Ehr()
    ehr.put(message("q1", "How?", "asker"), message("a1", "So.", "expert", answers="q1"))
    source = Source(ehr, mapping=ONE)
    answer = await source.send(notification({1: ["Communication/a1"]}))
    assert (answer.status_code, reasons(answer)) == (200, ["no-identifier"])
    assert source.bus.events == []


def test_the_mapping_file_says_the_system_and_the_authority(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(f"Patient:\n  system: {SYSTEM}\n  authority: MRN\n")
    read = read_mapping(path)
    assert read.patient == ONE.patient
    assert "Patient" in read.types
