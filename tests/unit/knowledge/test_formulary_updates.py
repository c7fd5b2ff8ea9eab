"""Facts that change, on the real embedder: what a question finds before and after an update, and how often."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tenancy.embedding.opening import open_embedder
from tenancy.embedding.port import Embedder
from tenancy.embedding.settings import EmbedderSettings
from tests.unit.knowledge.index_parts import Index, index

BEFORE = {
    "anticoagulants": (
        "Drug: Apixaban; Dose: 5 mg twice daily",
        "Drug: Rivaroxaban; Dose: 20 mg once daily with food",
    ),
    "antibiotics": (
        "Community-acquired pneumonia: first line is amoxicillin 500 mg three times a day.",
        "Penicillin allergy: give doxycycline 200 mg, then 100 mg once a day.",
    ),
    "analgesia": ("Paracetamol: at most 4 g in 24 hours.", "Morphine in renal failure: use oxycodone instead."),
    "phones": ("The pharmacist on call is reached at extension 4410.", "The blood bank is reached at extension 2200."),
    "potassium": ("Hyperkalaemia above 6.5: calcium gluconate 10 ml of 10 percent at once.",),
}
AFTER = {
    "anticoagulants": (
        "Drug: Apixaban; Dose: 2.5 mg twice daily from this year on",
        "Drug: Rivaroxaban; Dose: 15 mg once daily with food",
    ),
    "phones": ("The pharmacist on call is reached at extension 7700.", "The blood bank is reached at extension 2200."),
}
ASKED = (
    ("How much apixaban does a patient get?", "anticoagulants", "2.5 mg twice daily"),
    ("What is the rivaroxaban dose?", "anticoagulants", "15 mg once daily"),
    ("Which antibiotic for pneumonia from the community?", "antibiotics", "amoxicillin 500 mg"),
    ("The patient is allergic to penicillin. What do I give?", "antibiotics", "doxycycline 200 mg"),
    ("What is the daily maximum of paracetamol?", "analgesia", "4 g"),
    ("Which opioid when the kidneys fail?", "analgesia", "oxycodone"),
    ("How do I call the pharmacist at night?", "phones", "7700"),
    ("What is given for a potassium of 7?", "potassium", "calcium gluconate"),
)


@pytest.fixture
async def embedder(tmp_path: Path) -> AsyncIterator[Embedder]:
    async with open_embedder(EmbedderSettings(), tmp_path) as opened:
        assert opened is not None, "the model's package is not installed"
        yield opened


async def test_after_an_update_every_question_finds_the_new_fact_and_none_the_old_one(embedder: Embedder) -> None:
    made: Index = await index()
    made.embedder = embedder  # type: ignore[assignment]
    await made.handle_run([await made.upserted(name, 1, *texts) for name, texts in BEFORE.items()])
    await made.handle_run([await made.upserted(name, 2, *texts) for name, texts in AFTER.items()])
    missed = []
    for question, document, fact in ASKED:
        found = await made.search(question, top_k=5)
        if not any(one.passage.document_id == document and fact in one.passage.text for one in found):
            missed.append(question)
        assert all(one.passage.version == (2 if one.passage.document_id in AFTER else 1) for one in found)
        said = " ".join(one.passage.text for one in found)
        for old in ("5 mg twice daily;", "20 mg once daily", "4410", "Dose: 5 mg"):
            assert old not in said
    assert missed == [], "recall at 5 is 1 on this set"
