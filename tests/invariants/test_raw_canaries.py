"""An identifier of each class, as raw as a hospital types it, through every source and the whole loop: after it none is
on the bus, in the bucket, on a page or in a log, decrypted or not.

The gate is the real one, at each of its three looks; bus, store and trainer are the world's.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics

from producers.queries.proposals import open_proposals
from producers.sources.curation_tools.receiver import Receiver
from producers.sources.curation_tools.records import Record
from producers.sources.fhir.importing import import_fhir
from producers.sources.fhir.mapping import read_mapping
from producers.sources.mllp.conversations import Codes
from producers.sources.mllp.listener import Listener
from producers.sources.mllp.taking import taking
from producers.sources.proposing import Proposer, propose_all
from producers.sources.raw_file import RawFile
from producers.sources.source_key import SourceKey
from schemas.base.redaction import SAFE_HARBOR
from schemas.bus import events
from schemas.bus.content import ExampleContent
from schemas.objects import object_keys
from schemas.objects.training import TrainingSet
from tenancy.redaction.standard import standard_gate
from tests.unit.review_page_parts import Desk, OfWorld
from tests.world.world import POLICY, START, World

ANSWER = "Ask the pharmacist first."
SOURCES = ("file", "hl7", "fhir", "curation-tool")
CANARIES = {
    "A": ("Patient John Whitfield asks, may he have it?", "Whitfield"),
    "B": ("Lives at 48 Larkspur Lane, Boise, ID 83702. Home visit?", "Larkspur"),
    "C": ("Seen on 03/14/2025, when is the next one?", "03/14/2025"),
    "D": ("Call the family at 208-555-0147 about the dose?", "208-555-0147"),
    "E": ("Send it by fax 208-555-0199?", "208-555-0199"),
    "F": ("Mail to j.whitfield@examplemail.org?", "examplemail"),
    "G": ("SSN 517-44-9021, which form?", "517-44-9021"),
    "H": ("MRN 00481236, may we repeat it?", "00481236"),
    "I": ("Health plan member id XJH4471902, is it covered?", "XJH4471902"),
    "J": ("Account number 9912045771, who pays?", "9912045771"),
    "K": ("License number D5512873, is it valid?", "D5512873"),
    "L": ("VIN 1HGCM82633A004352 in the crash report, relevant?", "1HGCM82633A004352"),
    "M": ("Pacemaker serial number SN-88213-KQ, is it safe in MRI?", "88213"),
    "N": ("See http://portal.whitfieldfamily.org/p/48213, is it right?", "whitfieldfamily"),
    "O": ("Logged in from 203.0.113.77, allowed?", "203.0.113.77"),
    "P": ("Fingerprint ID FP-7721340, on file?", "7721340"),
    "Q": ("Photo IMG_4821377.jpg shows the rash, what is it?", "4821377"),
    "R": ("Accession number ACC-2025-771204, repeat the culture?", "771204"),
}
"""By class of Safe Harbor: a question, and what of it must never come back."""


def raw_file(folder: Path) -> Path:
    path = folder / "raw.jsonl"
    turns = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": ANSWER}]
        for question, _ in CANARIES.values()
    ]
    path.write_text("".join(json.dumps({"messages": each}) + "\n" for each in turns))
    return path


def hl7(number: int, question: str) -> bytes:
    segments = [
        f"MSH|^~\\&|EHR|WARD9|SANO|X|20260301||MDM^T02|MSG{number}|P|2.5.1",
        "PID|1||00481236^^^MRN||Whitfield^John||19410314|M|||48 Larkspur Lane^^Boise^ID^83702||208-555-0147",
        "TXA|1|CN|||||||Okonkwo^Staff",
        f"OBX|1|TX|QUESTION||{question}",
        f"OBX|2|TX|ANSWER||{ANSWER}",
        "",
    ]
    return "\r".join(segments).encode()


def fhir_bundle(folder: Path) -> Path:
    """A thread for each class, in a Bundle with the patient whom all of it is about."""
    patient = {
        "resourceType": "Patient",
        "id": "p1",
        "name": [{"family": "Whitfield", "given": ["John"]}],
        "birthDate": "1941-03-14",
        "identifier": [{"value": "00481236"}],
    }
    found: list[dict[str, Any]] = [patient]
    for letter, (question, _) in CANARIES.items():
        for name, text, sender, earlier in (("q", question, "asker", None), ("a", ANSWER, "Okonkwo", f"q-{letter}")):
            said: dict[str, Any] = {
                "resourceType": "Communication",
                "id": f"{name}-{letter}",
                "status": "completed",
                "subject": {"reference": "Patient/p1"},
                "sender": {"reference": f"Practitioner/{sender}"},
                "payload": [{"contentString": text}],
            }
            if earlier is not None:
                said["inResponseTo"] = [{"reference": f"Communication/{earlier}"}]
            found.append(said)
    path = folder / "raw.fhir.json"
    entries = [{"resource": resource} for resource in found]
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    return path


class Records:
    """A curation tool whose records nobody redacted."""

    name = "label-studio"

    async def record(self, record_id: str) -> Record:
        return Record(record_id, START, CANARIES[record_id][0], ANSWER, author="Okonkwo", consent="00481236")

    async def changed(self, _: datetime | None) -> list[str]:
        return list(CANARIES)


async def test_no_identifier_of_any_class_leaves_a_sources_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert set(CANARIES) == set(SAFE_HARBOR.values())
    caplog.set_level(logging.DEBUG)
    gate = standard_gate()
    monkeypatch.setattr("tests.world.world.gate_of_tests", lambda: gate)
    world, count = World(tmp_path), len(SOURCES) * len(CANARIES)
    tenant = await world.onboard("t1", POLICY.evolve(require_consent=False, min_new_examples=count))
    key = SourceKey(b"k" * 32)
    proposer = Proposer(tenant, world.public_keys[tenant], key, gate, world.bus, "/test", world.clock)
    await propose_all(proposer, RawFile(raw_file(tmp_path)))
    listener = Listener(taking(proposer, Codes()))
    for number, (question, _) in enumerate(CANARIES.values()):
        [answer] = await listener.answers(hl7(number, question))
        assert b"MSA|AA|" in answer
    assert (await import_fhir(proposer, [fhir_bundle(tmp_path)], read_mapping())).refused == []
    counter = metrics.get_meter("test").create_counter("records")
    await Receiver(Records(), proposer, tmp_path / "position", 3600.0, counter, world.clock).reconcile()
    await world.settle()
    waiting = await open_proposals(world.outside, tenant)
    assert Counter(view.source for view in waiting) == dict.fromkeys(SOURCES, len(CANARIES))
    assert all(view.redacted for view in waiting), "each had something to be redacted"
    desk = Desk(OfWorld(world))
    reviewer = await desk.signed_in()
    paths = ["/queue", *(f"/examples/{view.example_id}" for view in waiting)]
    places = {f"page {path}": await reviewer.look(path) for path in paths}
    for consent in {view.consent_id for view in waiting if view.consent_id is not None}:
        await world.publish(tenant, events.ConsentGranted(consent_id=consent, version=1))
    for view in waiting:
        said = events.ExampleReviewed(
            example_id=view.example_id,
            version=1,
            reviewer_id="rev-1",
            verdict="approved",
            commitment=view.commitment,
        )
        await world.publish(tenant, said)
    await world.settle()

    compliance = await desk.signed_in(role="compliance")
    for path in ("consents", "withdrawals", "audit", "agreement", f"adapters/{await world.served(tenant)}"):
        places[f"page {path}"] = await compliance.look(f"/compliance/{path}")
    store, places["log"] = await world.outside.store(tenant), caplog.text
    for key_, versions in world.memory.objects.items():
        for version in versions:
            places[f"bucket {key_}"] = key_ + (version.body or b"").decode("latin-1")
    for area in object_keys.TENANT_AREAS:
        async for name in store.list(area):
            places[f"opened {name}"] = (await store.get(name))[0].decode("latin-1")
    for topic, log in world.bus.topics.items():
        for number, event in enumerate(log):
            text = event.data.model_dump_json()
            if isinstance(event.data, events.ExampleProposed):
                text += store.keys.decrypt_inline(event.data.content.reference.jwe, ExampleContent).model_dump_json()
            places[f"{topic} {number}"] = text
    leaked = {
        (letter, place)
        for letter, (_, canary) in CANARIES.items()
        for place, text in places.items()
        # As a whole word: in a run's many digests and ciphertexts, five digits are found by chance.
        if re.search(rf"(?<![a-z0-9]){re.escape(canary)}(?![a-z0-9])", text, re.IGNORECASE)
    }
    assert leaked == set()
    for kind in ("opened contents/", "page /examples/"):
        assert any("[MRN-1]" in text for place, text in places.items() if place.startswith(kind)), "not blind"
    run = (await world.state(tenant)).runs["batch-1"]
    assert run.training_set_id is not None
    frozen, _ = await store.get_record(object_keys.training_set(run.training_set_id), TrainingSet)
    assert len(frozen.entries) == count, "and the third look found nothing in what the first two had let pass"
    assert {(entry.gate.gate, entry.gate.verdict) for entry in frozen.entries} == {("sano-gate", "clean")}
