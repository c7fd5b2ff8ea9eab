"""Reads held-out questions with their house rules, and decides whether an answer is correct."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from schemas.base.contract import Contract

Phrase = Annotated[str, Field(min_length=1)]


class HeldoutQuestion(Contract):
    """One line of a held-out file. It is used for scoring only and never trained on."""

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    must: tuple[Annotated[tuple[Phrase, ...], Field(min_length=1)], ...] = Field(
        min_length=1, description="groups of alternatives; a correct answer holds at least one of every group"
    )
    must_not: tuple[Phrase, ...] = Field(default=(), description="a correct answer holds none of these")
    answer: str = Field(min_length=1, description="the reviewer's own answer, which is correct")


class HeldoutFileError(ValueError):
    """A line of a held-out file is not a :class:`HeldoutQuestion`. The message names the line, never its text."""


def is_correct(answer: str, must: Sequence[Sequence[str]], must_not: Sequence[str]) -> bool:
    """Whether ``answer`` has one alternative of every group of ``must`` and nothing of ``must_not``.

    Phrases are compared as substrings, ignoring case and the amount of white space.
    """
    text = _normalised(answer)
    return all(any(_normalised(phrase) in text for phrase in group) for group in must) and not any(
        _normalised(phrase) in text for phrase in must_not
    )


def read_heldout(path: Path) -> list[HeldoutQuestion]:
    """The questions of a JSON Lines file in its order. Raises :class:`HeldoutFileError`."""
    questions = []
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise HeldoutFileError(f"{path.name} is not UTF-8") from None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            questions.append(HeldoutQuestion.model_validate_json(line))
        except ValidationError as error:
            fields = sorted({_place(item["loc"]) for item in error.errors(include_input=False)})
            raise HeldoutFileError(
                f"{path.name} line {number}: {', '.join(fields)} do not fit; see HeldoutQuestion"
            ) from None
    if not questions:
        raise HeldoutFileError(f"{path.name} holds no question; give one JSON object a line")
    return questions


def _place(location: tuple[int | str, ...]) -> str:
    """Where in a line. A name of the file's own making could be anything, so it is not repeated."""
    known = [
        str(p) if isinstance(p, int) or p in HeldoutQuestion.model_fields else "an unknown field" for p in location
    ]
    return ".".join(known) or "line"


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())
