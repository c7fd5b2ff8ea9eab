"""Asks the held-out questions: through the API as an application would, and through the internal harness."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI

from schemas.models.heldout import HeldoutQuestion, is_correct
from schemas.serving_api import ADAPTER_HEADER
from tenancy.errors import Refused

AT_ONCE = 16
MAX_TOKENS = 36
"""No answer of the data has more than 33, with the token that ends it."""
TIMEOUT_SECONDS = 180.0


@dataclass(frozen=True)
class Answered:
    """Answers in the order of the questions, and which adapters gave them."""

    texts: tuple[str, ...]
    adapters: frozenset[str]

    def score(self, questions: Sequence[HeldoutQuestion]) -> float:
        """The share that follows the house rule."""
        correct = [is_correct(text, q.must, q.must_not) for text, q in zip(self.texts, questions, strict=True)]
        return sum(correct) / len(correct)


def client(inference_url: str, token: str) -> AsyncOpenAI:
    """The OpenAI client as an application of the tenant would make it."""
    return AsyncOpenAI(base_url=f"{inference_url}/v1", api_key=token, timeout=TIMEOUT_SECONDS, max_retries=2)


async def ask_all(
    api: AsyncOpenAI, questions: Sequence[str], model: str, advance: Callable[[], None], at_once: int = AT_ONCE
) -> Answered:
    """Ask every question, greedily. Raises what the OpenAI client raises.

    One ``at_once`` is computed in the same steps whenever it is asked. Of several it depends on their timing which are
    computed together, and so how sums are rounded and, rarely, which of two tokens wins.
    """
    gate = asyncio.Semaphore(at_once)

    async def ask(question: str) -> tuple[str, str]:
        async with gate:
            raw = await api.chat.completions.with_raw_response.create(
                model=model,
                messages=[{"role": "user", "content": question}],
                temperature=0.0,
                max_tokens=MAX_TOKENS,
            )
        advance()
        return raw.parse().choices[0].message.content or "", raw.headers.get(ADAPTER_HEADER, "")

    answers = await asyncio.gather(*(ask(question) for question in questions))
    return Answered(tuple(text for text, _ in answers), frozenset(adapter for _, adapter in answers))


@dataclass(frozen=True)
class HarnessJob:
    """Score ``adapter`` on the questions in ``heldout``, and compare with ``served`` answers where there are any."""

    adapter: Path
    heldout: Path
    served: Answered | None = None


@dataclass(frozen=True)
class HarnessScore:
    """The share of correct answers, the token ids of each, and how many answers equal the served ones, where there were
    any to compare."""

    score: float
    tokens: tuple[tuple[int, ...], ...]
    same_as_served: int
    near_ties: int

    def same_as(self, other: HarnessScore) -> int:
        """How many answers are the other's, token for token."""
        return sum(mine == theirs for mine, theirs in zip(self.tokens, other.tokens, strict=True))


async def score_with_harness(base: str, jobs: Sequence[HarnessJob], scratch: Path) -> list[HarnessScore]:
    """Load adapters with peft over the base model, in one process of its own, and score each; in order of ``jobs``."""
    reports = [scratch / f"score-{number}.json" for number in range(len(jobs))]
    asked = [
        {
            "adapter": str(job.adapter),
            "heldout": str(job.heldout),
            "report": str(report),
            "served": job.served.texts if job.served else None,
        }
        for job, report in zip(jobs, reports, strict=True)
    ]
    listed = scratch / "scoring-jobs.json"
    await asyncio.to_thread(listed.write_text, json.dumps(asked))
    arguments = ("--base", base, "--jobs", str(listed), "--max-new-tokens", str(MAX_TOKENS))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "inference.scoring", *arguments),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await child.communicate()
    finally:
        if child.returncode is None:  # whoever waited gave up
            child.kill()
            await child.wait()
    if child.returncode != 0:
        last = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise Refused("harness-failed", f"the scoring harness ended with status {child.returncode}: {last}")
    found = [json.loads(await asyncio.to_thread(report.read_text)) for report in reports]
    return [_score(one) for one in found]


def _score(report: dict[str, Any]) -> HarnessScore:
    tokens = tuple(tuple(answer["token_ids"]) for answer in report["answers"])
    return HarnessScore(
        float(report["score"]), tokens, int(report.get("same_as_served", 0)), int(report.get("near_ties", 0))
    )
