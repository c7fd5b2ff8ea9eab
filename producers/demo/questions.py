"""Asking the held-out questions: through the API as an application would, and beside it with the internal harness."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from openai import AsyncOpenAI

from schemas.heldout import HeldoutQuestion, is_correct
from tenancy.errors import Refused

AT_ONCE = 8
MAX_TOKENS = 48
TIMEOUT_SECONDS = 180.0
ADAPTER_HEADER = "x-sano-adapter"


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
    api: AsyncOpenAI, questions: Sequence[HeldoutQuestion], model: str, advance: Callable[[], None]
) -> Answered:
    """Ask every question, greedily. Raises what the OpenAI client raises."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(question: HeldoutQuestion) -> tuple[str, str]:
        async with gate:
            raw = await api.chat.completions.with_raw_response.create(
                model=model,
                messages=[{"role": "user", "content": question.question}],
                temperature=0.0,
                max_tokens=MAX_TOKENS,
            )
        advance()
        return raw.parse().choices[0].message.content or "", raw.headers.get(ADAPTER_HEADER, "")

    answers = await asyncio.gather(*(ask(question) for question in questions))
    return Answered(tuple(text for text, _ in answers), frozenset(adapter for _, adapter in answers))


@dataclass(frozen=True)
class HarnessScore:
    """The share of correct answers, and how many answers equal the served ones, where there were any to compare."""

    score: float
    same_as_served: int


async def score_with_harness(
    base: str, adapter: Path, heldout: Path, scratch: Path, served: Answered | None = None
) -> HarnessScore:
    """Load ``adapter`` with peft over the base model, in a process of its own, and score it."""
    report = scratch / f"{adapter.name}-{heldout.stem}.json"
    arguments = ["--base", base, "--adapter", adapter, "--heldout", heldout, "--report", report]
    if served is not None:
        texts = scratch / f"served-{heldout.stem}.json"
        await asyncio.to_thread(texts.write_text, json.dumps(served.texts))
        arguments += ["--served", texts]
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "inference.scoring", *map(str, arguments), "--max-new-tokens", str(MAX_TOKENS)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await child.communicate()
    if child.returncode != 0:
        last = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise Refused("harness-failed", f"the scoring harness ended with status {child.returncode}: {last}")
    found = json.loads(await asyncio.to_thread(report.read_text))
    return HarnessScore(float(found["score"]), int(found.get("same_as_served", 0)))
