"""Names the fields of a tool's records that are question, answer, verdict and reason, and reads their values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from schemas.base.identifiers import REASON_CODE_PATTERN
from schemas.bus.events import Verdict


@dataclass(frozen=True)
class Fields:
    """Names of fields, and the values of the verdict's."""

    question: str = "question"
    answer: str = "answer"
    author: str = "author"
    consent: str = "consent"
    verdict: str = "verdict"
    reason: str = "reason"
    approve: str = "approve"
    reject: str = "reject"


def text_of(value: Any) -> str:
    """Raises :class:`ValueError` for what is no text, and for halves of characters, which no event can hold."""
    if value is None:
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError("no text")
    text = str(value)
    text.encode()
    return text


def list_of(value: Any) -> list[Any]:
    """Raises :class:`ValueError` for what is no list: taken for an empty one, it would say that nothing changed."""
    if not isinstance(value, list):
        raise ValueError("no list")
    return value


def verdict_of(value: str, fields: Fields) -> Verdict | None:
    """None for neither: an annotator who did not decide."""
    if value.casefold() == fields.approve.casefold():
        return "approved"
    return "rejected" if value.casefold() == fields.reject.casefold() else None


def reason_of(value: str) -> str | None:
    """A code; None for what would be free text, which no event may hold."""
    code = value.strip().casefold().replace(" ", "-")
    return code if re.fullmatch(REASON_CODE_PATTERN, code) else None
