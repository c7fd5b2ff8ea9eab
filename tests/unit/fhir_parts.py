"""Parts of the tests of the FHIR source: resources as raw as a hospital's server has them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from joserfc.jwk import OKPKey

from producers.sources.fhir.candidates import Finder
from producers.sources.fhir.importing import FhirFiles, FhirResources, conversations
from producers.sources.fhir.mapping import FhirMapping, read_mapping
from producers.sources.fhir.resources import Resources, stand_in, validated
from producers.sources.proposed import Proposed, propose
from producers.sources.proposing import Proposer
from producers.sources.source_key import SourceKey
from tenancy.bus import RecordingPublisher
from tenancy.errors import Refused
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import GATE, NAME

TENANT = TenantId("t1")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DEMO = Path(__file__).parents[2] / "deploy" / "local" / "data" / "oncology.fhir.json"
MAPPING = read_mapping()
LIMIT_URL = "http://hl7.org/fhir/StructureDefinition/consent-provision-limit"
Json = dict[str, Any]


def message(name: str, text: str, sender: str, *, answers: str | None = None, patient: str = "p1", **said: Any) -> Json:
    made: Json = {
        "resourceType": "Communication",
        "id": name,
        "meta": {"versionId": "1", "lastUpdated": "2026-02-01T08:00:00Z"},
        "status": "completed",
        "subject": {"reference": f"Patient/{patient}"},
        "sender": {"reference": f"Practitioner/{sender}"},
        "payload": [{"contentString": text}],
    }
    if answers:
        made["inResponseTo"] = [{"reference": f"Communication/{answers}"}]
    return {**made, **said}


def thread() -> list[Json]:
    return [
        message("q1", f"May {NAME}, 4482913, have it?", "asker"),
        message("a1", "No. House rule: paracetamol.", "expert", answers="q1"),
    ]


def questionnaire(**said: Any) -> Json:
    return {
        "resourceType": "QuestionnaireResponse",
        "id": "r1",
        "meta": {"versionId": "3"},
        "status": "completed",
        "questionnaire": "https://ehr.example/fhir/Questionnaire/rules",
        "subject": {"reference": "Patient/p1"},
        "author": {"reference": "Practitioner/expert"},
        "item": [
            {"linkId": "1", "text": f"Which for {NAME}?", "answer": [{"valueString": "The blue one."}]},
            {"linkId": "2", "text": "How often?", "answer": [{"valueString": "Twice."}]},
        ],
        **said,
    }


def provision(kind: str | None = "permit", purpose: str | None = "MLTRAINING", **said: Any) -> Json:
    made: Json = {} if kind is None else {"type": kind}
    if purpose:
        made["purpose"] = [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": purpose}]
    return {**made, **said}


def limit(code: str = "DEID", url: str = LIMIT_URL) -> list[Json]:
    return [{"url": url, "extension": [{"url": "control", "valueCodeableConcept": {"coding": [{"code": code}]}}]}]


def consent(root: Json | None = None, name: str = "c1", **said: Any) -> Json:
    made: Json = {
        "resourceType": "Consent",
        "id": name,
        "meta": {"lastUpdated": "2026-02-01T08:00:00Z"},
        "status": "active",
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "64292-6"}]}],
        "policy": [{"uri": "https://ehr.example/policy"}],
        "patient": {"reference": "Patient/p1"},
        "provision": provision() if root is None else root,
    }
    return {**made, **said}


def bundle(*resources: Json) -> Json:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources]}


def proposer(publisher: RecordingPublisher, key: OKPKey | None = None) -> Proposer:
    public = key or OKPKey.generate_key("X25519")
    return Proposer(TENANT, public, SourceKey(b"k" * 32), GATE, publisher, "/test", lambda: NOW)


async def made_from(*resources: Json, mapping: FhirMapping = MAPPING, damaged: bool = False) -> Proposed:
    """``damaged``: what is not valid is stood in for, as the sources do it."""
    held = Resources()
    for number, resource in enumerate(resources):
        try:
            read = validated(resource, mapping.types | {"Binary"})
        except Refused:
            if not damaged:
                raise
            read = stand_in(resource)
        if read is not None:
            held.add(read, where=f"entry {number}")
    of = proposer(RecordingPublisher())
    finder = Finder(held, mapping, of.key, TENANT)
    return await Proposed.of(of, FhirResources(finder, conversations(held), NOW, leaves_only=True))


async def imported(*paths: Path, publisher: RecordingPublisher, mapping: FhirMapping = MAPPING) -> Proposed:
    return await propose(of := proposer(publisher), FhirFiles(paths, mapping, of.key, TENANT, NOW))


def written(path: Path, *lines: Any) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path
