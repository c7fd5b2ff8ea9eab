"""The scoring harness: one process, several adapters, and each answers as if it were alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from producers.demo.questions import HarnessJob, score_with_harness
from schemas.tenant.hyperparameters import Hyperparameters
from tests.unit.tiny_training import build_tiny_base, load_tokenizer, tiny_examples, train_three_steps

QUESTIONS = [
    {"id": f"q{number}", "question": f"Which colour is {number}?", "must": [["x"]], "must_not": [], "answer": "x"}
    for number in range(3)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base, two adapters that answer differently, and questions."""
    home = tmp_path_factory.mktemp("scoring")
    base = build_tiny_base(home / "base", load_tokenizer())
    for seed in (1, 2):
        strong = Hyperparameters(r=8, max_steps=8, learning_rate=1e-2, precision="float32", seed=seed, lora_alpha=256)
        train_three_steps(base, home / f"adapter-{seed}", tiny_examples()[seed::seed], strong)
    (home / "heldout.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)) + "\n")
    return home


def scored(folder: Path, *adapters: str, served: list[str] | None = None) -> list[dict[str, Any]]:
    reports = [folder / f"report-{number}.json" for number in range(len(adapters))]
    jobs = [
        {
            "adapter": str(folder / adapter),
            "heldout": str(folder / "heldout.jsonl"),
            "report": str(report),
            "served": served,
        }
        for adapter, report in zip(adapters, reports, strict=True)
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    arguments = ["--base", str(folder / "base"), "--jobs", str(folder / "jobs.json"), "--max-new-tokens", "6"]
    from inference import scoring

    assert scoring.main(arguments) == 0
    return [json.loads(report.read_text()) for report in reports]


@pytest.mark.slow
def test_an_adapter_answers_the_same_alone_and_after_another(folder: Path) -> None:
    [alone] = scored(folder, "adapter-1")
    first, other, again = scored(folder, "adapter-1", "adapter-2", "adapter-1")
    assert first["answers"] == alone["answers"] == again["answers"]
    assert other["answers"] != first["answers"]


def test_equal_answers_are_counted_to_the_token_and_near_ties_by_themselves(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [found] = scored(folder, "adapter-1")
    from inference import scoring

    scorer = scoring.Scorer(folder / "base")
    texts = [scorer.decode(answer["token_ids"]) for answer in found["answers"]]
    [same] = scored(folder, "adapter-1", served=texts)
    [different] = scored(folder, "adapter-1", served=[*texts[:2], "or not"])
    assert (same["same_as_served"], different["same_as_served"]) == (3, 2)
    assert (same["near_ties"], different["near_ties"]) == (0, 0), "it scores its own token much higher"
    monkeypatch.setattr(scoring, "NEAR_TIE", 1e6)
    [tied] = scored(folder, "adapter-1", served=[*texts[:2], "or not"])
    assert (tied["same_as_served"], tied["near_ties"]) == (2, 1)


@pytest.mark.slow
async def test_the_demo_tells_by_the_tokens_whether_two_folders_hold_the_same_adapter(
    folder: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    shutil.copytree(folder / "adapter-1", taken)
    questions = folder / "heldout.jsonl"
    jobs = [HarnessJob(adapter, questions) for adapter in (folder / "adapter-1", folder / "adapter-2", taken)]
    one, other, same = await score_with_harness(str(folder / "base"), jobs, tmp_path)
    assert all(one.tokens)
    assert one.same_as(same) == len(QUESTIONS)
    assert one.same_as(other) < len(QUESTIONS)
