"""Says what the demo's hospital holds in the clear: a FHIR Bundle and HL7 v2 messages that name people.

Everybody in it is made up. The questions and answers are those of the tenant's data, which the import then leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schemas.bus.content import ChatMessage

LIMIT = "http://hl7.org/fhir/StructureDefinition/consent-provision-limit"
CODES = "http://terminology.hl7.org/CodeSystem"
AUTHORITY = "WARD9"


@dataclass(frozen=True)
class Patient:
    """Somebody whom the ward's texts name."""

    given: str
    family: str
    record_number: str
    born: str
    phone: str
    street: str


PATIENTS = (
    Patient("Lorna", "Whitcombe", "5520417", "1961-04-09", "208-555-0147", "48 Larkspur Lane"),
    Patient("Desmond", "Okafor", "00481236", "1958-11-02", "208-555-0199", "7 Tamarack Court"),
)

FHIR_CASES = {
    "onc-uti-01": ("Mrs Lorna Whitcombe, MRN 5520417, has burning urine.", ("Whitcombe", "5520417")),
    "onc-opioid-01": ("Her daughter calls from 208-555-0147 about the pain.", ("208-555-0147",)),
    "onc-iron-01": ("She was seen on 03/14/2025, SSN 517-44-9021.", ("03/14/2025", "517-44-9021")),
    "onc-sedative-01": ("Mail to l.whitcombe@examplemail.org before the scan.", ("examplemail",)),
}
HL7_CASES = {
    "onc-laxative-01": ("Mr Desmond Okafor, account number 9912045771, asks.", ("Okafor", "9912045771")),
    "onc-fluid-01": ("MRN 00481236, phone 208-555-0199, is back.", ("00481236", "208-555-0199")),
    "onc-contrast-01": ("He lives at 7 Tamarack Court, Boise, ID 83702.", ("Tamarack",)),
    "onc-oxygen-01": ("Health plan member id XJH4471902 is new.", ("XJH4471902",)),
}
"""Examples of the tenant's data: what the ward wrote before the question, and what of it nobody may find again."""

EXAMPLES = frozenset({*FHIR_CASES, *HL7_CASES})


def identifiers() -> tuple[str, ...]:
    """Everything raw that must be nowhere outside the source's memory, in texts and in what stands around them."""
    said = [name for cases in (FHIR_CASES, HL7_CASES) for _, names in cases.values() for name in names]
    around = [part for one in PATIENTS for part in (one.family, one.record_number, one.phone, one.street, one.born)]
    return tuple(dict.fromkeys([*said, *around, *(one.born.replace("-", "") for one in PATIENTS)]))


def _asked(note: str, messages: tuple[ChatMessage, ...]) -> tuple[str, str]:
    return f"{note} {messages[0].content}", messages[-1].content


def bundle(conversations: dict[str, tuple[ChatMessage, ...]]) -> dict[str, Any]:
    """The export: one patient with a Consent to training on redacted text, and a thread for each case."""
    patient = PATIENTS[0]
    found: list[dict[str, Any]] = [
        {
            "resourceType": "Patient",
            "id": "pat-1",
            "name": [{"family": patient.family, "given": [patient.given]}],
            "birthDate": patient.born,
            "telecom": [{"system": "phone", "value": patient.phone}],
            "address": [{"line": [patient.street], "city": "Boise", "state": "ID"}],
            "identifier": [{"value": patient.record_number}],
        },
        _consent(),
    ]
    for number, (name, (note, _)) in enumerate(FHIR_CASES.items()):
        question, answer = _asked(note, conversations[name])
        found.append(_message(f"q{number}", question, "doc-1"))
        found.append(_message(f"a{number}", answer, "doc-2", f"q{number}"))
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in found]}


def _consent() -> dict[str, Any]:
    deidentified = {"coding": [{"system": f"{CODES}/v3-ActCode", "code": "DEID"}]}
    limit = {"url": LIMIT, "extension": [{"url": "control", "valueCodeableConcept": deidentified}]}
    return {
        "resourceType": "Consent",
        "id": "con-1",
        "meta": {"versionId": "1", "lastUpdated": "2026-03-01T08:00:00Z"},
        "status": "active",
        "scope": {"coding": [{"system": f"{CODES}/consentscope", "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "64292-6"}]}],
        "patient": {"reference": "Patient/pat-1"},
        "dateTime": "2026-02-01",
        "policy": [{"uri": "https://ehr.example/policies/training"}],
        "provision": {
            "type": "permit",
            "purpose": [{"system": f"{CODES}/v3-ActReason", "code": "MLTRAINING"}],
            "modifierExtension": [limit],
        },
    }


def _message(name: str, text: str, sender: str, answers: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "resourceType": "Communication",
        "id": name,
        "meta": {"versionId": "1", "lastUpdated": "2026-03-01T08:00:00Z"},
        "status": "completed",
        "subject": {"reference": "Patient/pat-1"},
        "sender": {"reference": f"Practitioner/{sender}"},
        "payload": [{"contentString": text}],
    }
    return made if answers is None else {**made, "inResponseTo": [{"reference": f"Communication/{answers}"}]}


def messages(conversations: dict[str, tuple[ChatMessage, ...]]) -> list[bytes]:
    """The feed: an ``MDM^T02`` for each case, with the patient in its ``PID``."""
    patient, made = PATIENTS[1], []
    for number, (name, (note, _)) in enumerate(HL7_CASES.items()):
        question, answer = (_escaped(text) for text in _asked(note, conversations[name]))
        born, street = patient.born.replace("-", ""), f"{patient.street}^^Boise^ID^83702"
        segments = [
            f"MSH|^~\\&|EHR|{AUTHORITY}|SANO|X|20260301||MDM^T02|MSG{number}|P|2.5.1",
            f"PID|1||{patient.record_number}^^^{AUTHORITY}||{patient.family}^{patient.given}||{born}|M|||{street}||"
            f"{patient.phone}",
            "TXA|1|CN|||||||doc-2^Staff",
            f"OBX|1|TX|QUESTION||{question}",
            f"OBX|2|TX|ANSWER||{answer}",
            "",
        ]
        made.append("\r".join(segments).encode())
    return made


def _escaped(text: str) -> str:
    for mark, sequence in (("\\", "\\E\\"), ("|", "\\F\\"), ("^", "\\S\\"), ("&", "\\T\\"), ("~", "\\R\\")):
        text = text.replace(mark, sequence)
    return text
