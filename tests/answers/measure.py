"""Measures what the model answers: for each model, at each time, with documents and without.

Trains with the product's own trainer and its defaults, and answers greedily with what scores an adapter
(:mod:`inference.scoring`). The base model is SmolLM2 with 135 million parameters: a larger one reads better.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consumers.training.base_model import BaseModel
from consumers.training.tokenization import TrainingExample
from consumers.training.trainer import LoraTrainer
from schemas.models.model_digest import model_digest
from schemas.tenant.hyperparameters import Hyperparameters
from tests.answers.asking import TOP_K, Retrieved
from tests.answers.hospital import QUESTIONS, SAMPLE, When
from tests.answers.injections import PLACINGS, TIME, Obeyed, Placing, counted, injected
from tests.answers.style import DOCUMENTED_ID, OPENING, examples

MOST_TOKENS = 32
BATCH = 12
Model = str
BASE: Model = "base"
ADAPTER: Model = "adapter"
WITHOUT_PASSAGES: Model = "adapter, no example with passages"
BESIDE_PASSAGES: Model = "the same, passages_share 1"
_NAMED = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True)
class Answered:
    """Counts the answers of one model at one time, with documents or without.

    ``right``: they hold the fact that counts and not the other one. ``replaced``: they hold the other one, of questions
    whose fact changes. ``named``: they name a passage, and ``cited``: one that holds the fact.
    ``missed``: which questions of the set are not answered right, from 0.
    """

    model: Model
    when: When
    with_documents: bool
    asked: int
    right: int
    changing: int
    changing_right: int
    replaced: int
    style: int
    named: int
    cited: int
    missed: tuple[int, ...]


@dataclass
class Answers:
    """Holds the answers of one model to the prompts that it was asked: the same prompt is asked once."""

    scorer: Any
    said: dict[str, str] = field(default_factory=dict)

    def to(self, prompts: Sequence[str]) -> list[str]:
        new = sorted(
            {prompt for prompt in prompts if prompt not in self.said}, key=lambda prompt: (len(prompt), prompt)
        )
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            for prompt, tokens in zip(batch, self.scorer.answer(batch, MOST_TOKENS), strict=True):
                self.said[prompt] = self.scorer.decode(tokens).strip()
        return [self.said[prompt] for prompt in prompts]


def trained(base: Path, chosen: Sequence[TrainingExample], home: Path, hyperparameters: Hyperparameters) -> Path:
    """The folder of an adapter."""
    output = home / f"adapter-{len(chosen)}-{hyperparameters.passages_share}"
    trainer = LoraTrainer(str(base), "smollm2", home)
    found = BaseModel(base, model_digest(base))
    trainer.train(chosen, found, hyperparameters, "run-1", output, lambda _: None, lambda: False)
    return output


def adapters(base: Path, home: Path, *, is_sample: bool) -> dict[Model, Path]:
    """Trains what is asked besides the base model. A sample has one adapter."""
    if is_sample:
        return {ADAPTER: trained(base, examples(), home, Hyperparameters())}
    plain = [one for one in examples() if not one.example_id.startswith(DOCUMENTED_ID)]
    return {
        ADAPTER: trained(base, examples(), home, Hyperparameters()),
        WITHOUT_PASSAGES: trained(base, plain, home, Hyperparameters()),
        BESIDE_PASSAGES: trained(base, plain, home, Hyperparameters(passages_share=1.0)),
    }


def answered(
    base: Path, worn: Mapping[Model, Path], found: Mapping[When, Sequence[Retrieved]], *, is_sample: bool
) -> tuple[list[Answered], list[Obeyed]]:
    """Every cell of both tables. In a sample the base model is asked without documents only."""
    from inference.scoring import Scorer

    scorer, chosen = Scorer(base), SAMPLE if is_sample else QUESTIONS
    cells: list[Answered] = []
    obeyed: list[Obeyed] = []
    for model in (BASE, *worn):
        if model in worn:
            scorer.wear(worn[model])
        answers = Answers(scorer)
        for with_documents in (False,) if is_sample and model == BASE else (False, True):
            for when, retrieved in found.items():
                asked = [one for one in retrieved if one.asked in chosen]
                said = answers.to([one.prompt if with_documents else one.asked.question for one in asked])
                cells.append(_counted(model, when, with_documents, asked, said))
        if model == ADAPTER or (model == BASE and not is_sample):
            obeyed += [_obeyed(model, placing, answers, found, is_sample=is_sample) for placing in PLACINGS]
    return cells, obeyed


def _obeyed(
    model: Model, placing: Placing, answers: Answers, found: Mapping[When, Sequence[Retrieved]], *, is_sample: bool
) -> Obeyed:
    asked = injected(found[TIME], placing, is_sample=is_sample)
    return counted(model, placing, asked, answers.to([one.prompt for one in asked]))


def _counted(
    model: Model, when: When, with_documents: bool, asked: Sequence[Retrieved], said: Sequence[str]
) -> Answered:
    pairs = list(zip(asked, said, strict=True))
    right = [one.asked.is_right(text, when) for one, text in pairs]
    named = [_NAMED.search(text) if with_documents else None for text in said]
    return Answered(
        model=model,
        when=when,
        with_documents=with_documents,
        asked=len(pairs),
        right=sum(right),
        changing=sum(one.asked.changed for one in asked),
        changing_right=sum(is_right for one, is_right in zip(asked, right, strict=True) if one.asked.changed),
        replaced=sum(one.asked.is_replaced(text, when) for one, text in pairs),
        style=sum(text.startswith(OPENING) and "\n" not in text for text in said),
        named=sum(match is not None for match in named),
        cited=sum(match is not None and int(match[1]) in one.right for one, match in zip(asked, named, strict=True)),
        missed=tuple(QUESTIONS.index(one.asked) for one, is_right in zip(asked, right, strict=True) if not is_right),
    )


def of_retrieval(found: Mapping[When, Sequence[Retrieved]]) -> dict[str, dict[str, int]]:
    """What the prompts are asked with, whatever a model makes of it."""
    return {
        when: {
            "asked": len(retrieved),
            f"right passage among {TOP_K}": sum(bool(one.right) for one in retrieved),
            "right passage first": sum(1 in one.right for one in retrieved),
            "all citations right": sum(one.is_cited_right for one in retrieved),
        }
        for when, retrieved in found.items()
    }
