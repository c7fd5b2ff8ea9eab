"""Facts that change, on the real embedder: what a question is asked with and cites after an update."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inference.knowledge.loaded_indexes import LoadedIndexes
from inference.knowledge.memory_search import MemorySearch
from inference.knowledge.retrieval import Retrieval
from schemas.tenant.policy import TenantPolicy
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


async def test_after_an_update_every_question_is_asked_with_the_new_fact_cites_it_and_has_none_of_the_old_ones(
    embedder: Embedder,
) -> None:
    made: Index = await index()
    made.embedder = embedder  # type: ignore[assignment]
    await made.handle_run([await made.upserted(name, 1, *texts) for name, texts in BEFORE.items()])
    await made.handle_run([await made.upserted(name, 2, *texts) for name, texts in AFTER.items()])

    async def source() -> Embedder:
        return embedder

    tenancy = made.parts.tenancy
    retrieval = Retrieval(tenancy, MemorySearch(tenancy, LoadedIndexes(2**24)), source, frame_characters=4000)
    published = (await tenancy.active(made.tenant)).state.knowledge
    missed, first = [], 0
    for question, document, fact in ASKED:
        body = {"messages": [{"role": "user", "content": question}], "retrieval": {"top_k": 5}}
        asked = await retrieval.applied(made.tenant, TenantPolicy(), published, body)
        assert asked is not None
        prompt, citations = asked.body["messages"][-1]["content"], asked.told()["citations"]
        right = [one for one in citations if one["document_id"] == document and fact in one["passage"]]
        first += right[:1] == citations[:1]
        if not right or fact not in prompt:
            missed.append(question)
        assert fact not in question, "without retrieval nobody could know it"
        for one in citations:
            assert one["version"] == (2 if one["document_id"] in AFTER else 1)
            said = " / ".join(one["passage"].splitlines())
            assert f"[{one['number']}] {one['path']}: {said}\n" in prompt, "a number names what it cites"
        for old in ("5 mg twice daily;", "20 mg once daily", "4410", "Dose: 5 mg"):
            assert old not in prompt
    assert missed == [], "recall at 5 is 1 on this set"
    assert first >= 5, "of eight first citations as many were right when this was written"
