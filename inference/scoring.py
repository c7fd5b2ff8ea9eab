"""Scores a base model, with or without an adapter, on held-out questions that have a house rule for an answer.

``python -m inference.scoring --base PATH [--adapter DIR] --heldout FILE --report FILE.json [--max-new-tokens 64]``

The report holds each answer's token ids and not its text.
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
from transformers import AutoModelForCausalLM, AutoTokenizer

from schemas.adapter_files import ADAPTER_FILES, check_adapter, linear_shapes
from schemas.heldout import HeldoutQuestion, is_correct, read_heldout

BATCH_SIZE = 17


class Scorer:
    """A model and its tokenizer, held in the bfloat16 it is served in, or float32 where a CPU would emulate that."""

    def __init__(self, base: Path, adapter: Path | None) -> None:
        """Load ``base`` and put ``adapter`` on it.

        Raises :class:`~schemas.adapter_files.AdapterRefused` when the adapter's files do not pass the checks.
        """
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer = AutoTokenizer.from_pretrained(str(base), local_files_only=True, padding_side="left")
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(base), dtype=_serving_dtype(self._device), local_files_only=True, use_safetensors=True
        )
        if adapter is not None:
            # An export holds its manifest and list of examples beside the adapter's own two files.
            check_adapter({name: (adapter / name).read_bytes() for name in ADAPTER_FILES}, linear_shapes(base))
            model = PeftModel.from_pretrained(model, str(adapter), autocast_adapter_dtype=False)
        self._model = model.to(self._device).eval()

    def answer(self, questions: Sequence[str], max_new_tokens: int) -> list[list[int]]:
        """Greedy answers to ``questions``, each asked as one user turn: token ids without end-of-turn and padding."""
        chats = [[{"role": "user", "content": question}] for question in questions]
        inputs = self._tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        ).to(self._device)
        with torch.no_grad():
            generated = self._model.generate(
                **inputs, do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=self._tokenizer.pad_token_id
            )
        prompt_tokens = inputs["input_ids"].shape[1]
        return [self._until_end_of_turn(row) for row in generated[:, prompt_tokens:].tolist()]

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


def same_as_served(scorer: Scorer, answers: Sequence[dict[str, Any]], served: Sequence[str]) -> int:
    """How many answers are, token for token, those that a server gave to the same questions."""
    pairs = zip(answers, served, strict=True)
    return sum(scorer.decode(answer["token_ids"]).strip() == text.strip() for answer, text in pairs)


def _serving_dtype(device: str) -> Any:
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if native else torch.float32


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m inference.scoring", description="score held-out questions")
    parser.add_argument("--base", type=Path, required=True, help="directory of the base model")
    parser.add_argument("--adapter", type=Path, help="directory of an adapter; without it the base model is scored")
    parser.add_argument("--heldout", type=Path, required=True, help="JSON Lines of held-out questions")
    parser.add_argument("--report", type=Path, required=True, help="where the report is written")
    parser.add_argument("--served", type=Path, help="JSON list of a server's answers, to count equal ones")
    parser.add_argument("--max-new-tokens", type=int, default=64, help="longest answer (default: %(default)s)")
    options = parser.parse_args(arguments)
    questions = read_heldout(options.heldout)
    scorer = Scorer(options.base, options.adapter)
    report = score(scorer, questions, options.max_new_tokens)
    if options.served is not None:
        report["same_as_served"] = same_as_served(scorer, report["answers"], json.loads(options.served.read_text()))
    options.report.write_text(json.dumps(report, indent=2) + "\n")
    sys.stdout.write(f"{report['correct']} of {report['total']} correct\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
