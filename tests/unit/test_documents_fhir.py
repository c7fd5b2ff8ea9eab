"""FHIR resources as documents: what a MedicationKnowledge says of doses is said whole, or refused."""

from __future__ import annotations

import base64
import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from producers.commands.knowledge import AddedDocument, add_documents
from producers.sources.documents.fhir_resources import fhir_documents, read_documents
from producers.sources.documents.medication import dosage
from producers.sources.documents.reading import ReadDocument, parse_body
from schemas.bus import events
from schemas.bus.content import DocumentContent
from schemas.objects import object_keys
from tenancy.errors import Refused
from tenancy.tenant_id import TenantId
from tests.fixtures.documents import parse_here, read_file_here
from tests.fixtures.gates import NAME, gate_of_tests
from tests.unit.damaged_json import damaged
from tests.unit.operator_parts import Parts, onboarded_parts

TENANT = TenantId("t1")
Json = dict[str, Any]


def mg(value: float) -> Json:
    return {"value": value, "unit": "mg"}


def apixaban(**said: Any) -> Json:
    twice = {
        "repeat": {"frequency": 2, "period": 1, "periodUnit": "d", "boundsDuration": {"value": 6, "unit": "months"}}
    }
    step = {"doseAndRate": [{"doseQuantity": mg(5)}], "route": {"text": "by mouth"}, "timing": twice}
    return {
        "resourceType": "MedicationKnowledge",
        "id": "apixaban-5",
        "status": "active",
        "code": {"coding": [{"code": "1364445", "display": "Apixaban 5 mg tablet"}]},
        "synonym": ["Eliquis"],
        "doseForm": {"text": "tablet"},
        "ingredient": [
            {
                "itemCodeableConcept": {"text": "apixaban"},
                "isActive": True,
                "strength": {"numerator": mg(5), "denominator": {"value": 1, "unit": "tablet"}},
            }
        ],
        "administrationGuidelines": [
            {
                "indicationCodeableConcept": {"text": "atrial fibrillation"},
                "patientCharacteristics": [{"characteristicCodeableConcept": {"text": "creatinine"}, "value": ["low"]}],
                "dosage": [
                    {
                        "type": {"text": "maintenance"},
                        "dosage": [step, {"text": "2.5 mg at night", "maxDosePerAdministration": mg(5)}],
                    }
                ],
            }
        ],
        "contraindication": [{"reference": "DetectedIssue/bleeding"}],
        "monitoringProgram": [{"name": "renal function yearly"}],
        "preparationInstruction": "May be crushed.",
        **said,
    }


BLEEDING = {
    "resourceType": "DetectedIssue",
    "id": "bleeding",
    "status": "final",
    "code": {"text": "active bleeding"},
}


def document(**said: Any) -> Json:
    page = base64.b64encode(b"# Line care\n\nChange the dressing weekly.\n").decode()
    return {
        "resourceType": "DocumentReference",
        "id": "lines",
        "status": "current",
        "content": [
            {"attachment": {"contentType": "image/png", "data": "AAAA"}},
            {"attachment": {"contentType": "text/markdown; charset=utf-8", "data": page}},
        ],
        **said,
    }


def written(folder: Path, *resources: Json, name: str = "formulary.json") -> Path:
    path = folder / name
    entries = [{"resource": one} for one in resources]
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    return path


def said(one: ReadDocument) -> list[str]:
    return [f"{'#' * block.level} {block.text}" if block.kind == "heading" else block.text for block in one.blocks]


async def test_a_medication_is_a_document_whose_rows_say_what_their_numbers_are(tmp_path: Path) -> None:
    [one] = await fhir_documents(written(tmp_path, apixaban(), BLEEDING))
    assert (one.title, one.name) == ("Apixaban 5 mg tablet", "MedicationKnowledge/apixaban-5")
    assert said(one) == [
        "# Apixaban 5 mg tablet",
        "Also called: Eliquis; Form: tablet",
        "## Ingredients",
        "Ingredient: apixaban; Active: yes; Strength: 5 mg per 1 tablet",
        "## Administration",
        "Indication: atrial fibrillation; For: creatinine low; Type: maintenance; "
        "Dosage: 5 mg, by mouth, 2 times every 1 day, for 6 months",
        "Indication: atrial fibrillation; For: creatinine low; Type: maintenance; "
        "Dosage: 2.5 mg at night, at most 5 mg at once",
        "## Contraindications",
        "Contraindication: active bleeding",
        "## Monitoring",
        "Programme: renal function yearly",
        "## Preparation",
        "May be crushed.",
    ]


async def test_a_document_reference_is_the_first_of_its_attachments_that_can_be_read(tmp_path: Path) -> None:
    [one] = await fhir_documents(written(tmp_path, document()), parse=parse_here)
    assert (one.title, said(one)) == ("Line care", ["# Line care", "Change the dressing weekly."])
    binary = {
        "resourceType": "Binary",
        "id": "b1",
        "contentType": "text/plain",
        "data": base64.b64encode(b"5 mg").decode(),
    }
    beside = document(description="Doses", content=[{"attachment": {"url": "Binary/b1"}}])
    [one] = await fhir_documents(written(tmp_path, beside, binary), parse=parse_here)
    assert (one.title, said(one)) == ("Doses", ["5 mg"])


async def test_lines_of_a_bulk_export_are_read_each_as_its_own(tmp_path: Path) -> None:
    path = tmp_path / "MedicationKnowledge.ndjson"
    more = [apixaban(id=f"m{number}", contraindication=[]) for number in range(3)]
    path.write_text("\n".join(map(json.dumps, more)))
    assert [one.name for one in await fhir_documents(path)] == [f"MedicationKnowledge/m{number}" for number in range(3)]


@pytest.mark.parametrize(
    ("resource", "code"),
    [
        (apixaban(), "unnamed"),  # the contraindication is not in the file
        (apixaban(modifierExtension=[{"url": "https://x", "valueBoolean": True}], contraindication=[]), "modified"),
        (document(subject={"reference": f"Patient/{NAME.replace(' ', '')}"}), "about-somebody"),
        (document(content=[{"attachment": {"contentType": "image/png", "data": "AAAA"}}]), "no-attachment"),
        (
            document(content=[{"attachment": {"contentType": "text/plain; charset=latin-1", "data": "AAAA"}}]),
            "unreadable-attachment",
        ),
        (document(content=[{"attachment": {"contentType": "application/pdf", "data": "AAAA"}}]), "unreadable-file"),
        ({"resourceType": "Patient", "id": "p"}, "empty-document"),
        ({"resourceType": "MedicationKnowledge", "status": "perhaps", "doseForm": NAME}, "bad-resource"),
    ],
)
async def test_what_is_no_document_of_the_house_is_refused_in_one_line_that_quotes_nothing(
    tmp_path: Path, resource: Json, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        await fhir_documents(written(tmp_path, resource), parse=parse_here)
    assert refused.value.code == code
    assert "\n" not in str(refused.value)
    assert NAME not in str(refused.value)


@pytest.mark.parametrize(
    "step",
    [
        {"timing": {"repeat": {"dayOfWeek": ["mon"]}}},
        {"timing": {"event": ["2026-01-01"]}},
        {"timing": {"repeat": {"frequency": 1, "periodMax": 3}}},
    ],
)
def test_half_a_dosage_is_refused_and_one_that_is_written_out_is_taken(step: Json) -> None:
    with pytest.raises(Refused, match="write it out"):
        dosage(step)
    assert dosage({**step, "text": "5 mg on Mondays"}) == "5 mg on Mondays"


async def test_of_three_hundred_damaged_files_none_ends_with_anything_but_a_refusal_that_quotes_nothing(
    tmp_path: Path,
) -> None:
    draw, path, refused = random.Random(23), tmp_path / "formulary.json", 0
    good = written(tmp_path, apixaban(), BLEEDING, document(description=NAME)).read_bytes()
    for _ in range(300):
        path.write_bytes(damaged(draw, good))
        try:
            await fhir_documents(path)
        except Refused as refusal:
            refused += 1
            assert NAME not in str(refusal)
            assert "\n" not in str(refusal)
    assert refused > 100


# --- the command


@pytest.fixture
async def parts() -> Parts:
    return await onboarded_parts(TENANT)


async def added(parts: Parts, *files: Path, **changes: Any) -> list[AddedDocument]:
    return await add_documents(files, TENANT, parts.tenancy, gate=gate_of_tests, read=read_file_here, **changes)


async def test_each_resource_is_a_document_of_its_own_and_one_that_counts_no_more_is_removed(
    parts: Parts, tmp_path: Path
) -> None:
    path = written(tmp_path, apixaban(), BLEEDING, document(description=f"Of {NAME}"))
    first = await added(parts, path)
    assert [one.status for one in first] == ["new", "new"]
    assert [one.status for one in await added(parts, path)] == ["known", "known"]
    store = await parts.tenancy.store(TENANT)
    content, _ = await store.get_record(object_keys.document(first[1].document_id, 1), DocumentContent)
    assert content.title == "Of [PATIENT-1]"
    assert all("apixaban" not in one.document_id for one in first), "a server's id may say anything"
    parts.publisher.events.clear()

    over = [apixaban(status="inactive"), document(status="superseded"), document(id="never", status="superseded")]
    again = await added(parts, written(tmp_path, *over))
    assert [one.status for one in again] == ["removed", "removed", "passed-over"]
    assert [one.document_id for one in again[:2]] == [one.document_id for one in first]
    told = [event.data for event in parts.publisher.events]
    assert [data.document_id for data in told if isinstance(data, events.DocumentRemoved)] == [
        one.document_id for one in first
    ]
    assert len(told) == 2


async def test_attachments_are_parsed_in_a_process_of_their_own(tmp_path: Path) -> None:
    [one] = await read_documents(written(tmp_path, document()))
    assert said(one) == ["# Line care", "Change the dressing weekly."]
    assert len(await parse_body(".txt", b"xxxxxxx\n\n" * 10_000)) == 10_000, "more than a pipe holds"
    content = [{"attachment": {"contentType": "application/pdf", "data": "AAAA"}}]
    with pytest.raises(Refused, match=r"formulary.json: entry 0: refused: it is damaged"):
        await read_documents(written(tmp_path, document(content=content)))


async def test_of_a_file_that_holds_a_bad_resource_nothing_is_added(parts: Parts, tmp_path: Path) -> None:
    before = copy.deepcopy(parts.publisher.events)
    with pytest.raises(Refused):
        await added(parts, written(tmp_path, document(), {"resourceType": "MedicationKnowledge", "status": 7}))
    with pytest.raises(Refused, match="one document"):
        await added(parts, written(tmp_path, document(), document(id="other")), document_id="both")
    assert parts.publisher.events == before
