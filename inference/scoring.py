"""Scores adapters over a base model on held-out questions with house rules.

``python -m inference.scoring --base PATH --jobs FILE.json [--max-new-tokens 64]``

``FILE`` is a list of jobs: see :class:`Job`. All are done by one process, which loads the base model once. A report
holds each answer's token ids and not its text.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from pydantic import TypeAdapter
from transformers import AutoModelForCausalLM, AutoTokenizer

from schemas.base.contract import Contract
from schemas.models.adapter_files import ADAPTER_FILES, check_form, linear_shapes
from schemas.models.heldout import HeldoutQuestion, is_correct, read_heldout

BATCH_SIZE = 17
NEAR_TIE = 0.25
"""Of two logits. In bfloat16 those between 16 and 32 lie 0.125 apart, and an engine adds up a layer's products in
another order than peft does."""


class Job(Contract):
    """One scoring: ``adapter`` is a directory, ``heldout`` a file of questions, ``report`` where the result is written.

    ``served`` are a server's answers to the same questions. Those that are equal to the token are counted, and those
    that part from the adapter's at a near tie.
    """

    adapter: Path
    heldout: Path
    report: Path
    served: tuple[str, ...] | None = None


class Scorer:
    """A model and its tokenizer, held in the bfloat16 it is served in, or float32 where a CPU would emulate that."""

    def __init__(self, base: Path) -> None:
        """Load ``base``."""
        self._base = base
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer = AutoTokenizer.from_pretrained(str(base), local_files_only=True, padding_side="left")
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(base), dtype=_serving_dtype(self._device), local_files_only=True, use_safetensors=True
        )
        self._plain: Any = model.to(self._device).eval()
        self._model = self._plain

    def wear(self, adapter: Path) -> None:
        """Answer with ``adapter`` from now on, instead of the one before.

        Raises :class:`~schemas.models.adapter_files.AdapterRefused` when the adapter's files do not pass the checks.
        """
        # An export holds its manifest and list of examples beside the adapter's own two files.
        check_form({name: (adapter / name).read_bytes() for name in ADAPTER_FILES}, linear_shapes(self._base))
        if self._model is not self._plain:
            self._plain = self._model.unload()
        adapted = PeftModel.from_pretrained(self._plain, str(adapter), autocast_adapter_dtype=False)
        self._model = adapted.to(self._device).eval()

    def answer(self, questions: Sequence[str], max_new_tokens: int) -> list[list[int]]:
        """Greedy answers to ``questions``, each asked as one user turn: token ids without end-of-turn and padding."""
        inputs = self._prompts(questions)
        with torch.no_grad():
            generated = self._model.generate(
                **inputs, do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=self._tokenizer.pad_token_id
            )
        prompt_tokens = inputs["input_ids"].shape[1]
        return [self._until_end_of_turn(row) for row in generated[:, prompt_tokens:].tolist()]

    def preference(self, question: str, token_ids: Sequence[int], served: str) -> float:
        """By how much more, in logits, the adapter scores its own token than the served one where the answers part."""
        end: int = self._tokenizer.eos_token_id
        theirs = [*self._tokenizer(served, add_special_tokens=False)["input_ids"], end]
        pairs = enumerate(zip([*token_ids, end], theirs, strict=False))
        at, (own, other) = next((place, pair) for place, pair in pairs if pair[0] != pair[1])
        prompt = self._prompts([question])["input_ids"]
        before = torch.tensor([list(token_ids[:at])], dtype=prompt.dtype, device=self._device)
        with torch.no_grad():
            logits = self._model(torch.cat([prompt, before], dim=1)).logits[0, -1].float()
        return float(logits[own] - logits[other])

    def _prompts(self, questions: Sequence[str]) -> Any:
        """Each asked as one user turn; padded on the left."""
        chats = [[{"role": "user", "content": question}] for question in questions]
        return self._tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        ).to(self._device)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of an answer."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def _until_end_of_turn(self, row: list[int]) -> list[int]:
        end = self._tokenizer.eos_token_id
        return row[: row.index(end)] if end in row else row


def score(scorer: Scorer, questions: Sequence[HeldoutQuestion], max_new_tokens: int) -> dict[str, Any]:
    """The report: ``score`` is the share of correct answers, and ``answers`` are in the order of ``questions``."""
    answers = []
    for start in range(0, len(questions), BATCH_SIZE):
        batch = questions[start : start + BATCH_SIZE]
        for question, token_ids in zip(
            batch, scorer.answer([item.question for item in batch], max_new_tokens), strict=True
        ):
            correct = is_correct(scorer.decode(token_ids), question.must, question.must_not)
            answers.append({"id": question.id, "correct": correct, "token_ids": token_ids})
    correct_answers = sum(1 for item in answers if item["correct"])
    return {
        "score": correct_answers / len(answers),
        "correct": correct_answers,
        "total": len(answers),
        "answers": answers,
    }


def compared(
    scorer: Scorer, questions: Sequence[HeldoutQuestion], answers: Sequence[dict[str, Any]], served: Sequence[str]
) -> dict[str, int]:
    """How many answers are, token for token, those that a server gave to the same questions, and how many part from
    them at a near tie, behind which there is nothing to compare.
    """
    others = [
        (question.question, answer["token_ids"], text.strip())
        for question, answer, text in zip(questions, answers, served, strict=True)
        if scorer.decode(answer["token_ids"]).strip() != text.strip()
    ]
    near = sum(scorer.preference(*other) <= NEAR_TIE for other in others)
    return {"same_as_served": len(answers) - len(others), "near_ties": near}


def _serving_dtype(device: str) -> Any:
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if native else torch.float32


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m inference.scoring", description="score held-out questions")
    parser.add_argument("--base", type=Path, required=True, help="directory of the base model")
    parser.add_argument("--jobs", type=Path, required=True, help="JSON list of adapter, heldout, report, served")
    parser.add_argument("--max-new-tokens", type=int, default=64, help="longest answer (default: %(default)s)")
    options = parser.parse_args(arguments)
    scorer = Scorer(options.base)
    worn: Path | None = None
    for job in TypeAdapter(list[Job]).validate_json(options.jobs.read_bytes()):
        if job.adapter != worn:
            scorer.wear(job.adapter)
            worn = job.adapter
        questions = read_heldout(job.heldout)
        report = score(scorer, questions, options.max_new_tokens)
        if job.served is not None:
            report |= compared(scorer, questions, report["answers"], job.served)
        job.report.write_text(json.dumps(report, indent=2) + "\n")
        sys.stdout.write(f"{report['correct']} of {report['total']} correct\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
