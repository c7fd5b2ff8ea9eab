"""Parses timestamps: RFC 3339 with a zone, and nothing else."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError

# Between date and time a space too, as the note in RFC 3339 section 5.6 allows.
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def moment(text: str) -> datetime:
    """The aware time that ``text`` names. Raises :class:`ValueError` for what is not RFC 3339."""
    if _RFC_3339.fullmatch(text) is None:
        raise ValueError("not RFC 3339")
    return datetime.fromisoformat(text.upper())


def _written_out(value: Any) -> Any:
    # Not left to pydantic, which takes digits in a string for seconds since 1970.
    if not isinstance(value, str):
        return value
    try:
        return moment(value)
    except ValueError:
        raise PydanticCustomError("rfc_3339", "Input should be a time by RFC 3339, with a time zone") from None


Timestamp = Annotated[AwareDatetime, BeforeValidator(_written_out)]
"""The type of every time in the contract. One without a zone cannot be compared with one that has a zone."""
