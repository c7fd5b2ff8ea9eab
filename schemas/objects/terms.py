"""Defines a tenant's own terms, and the searches for identifiers that were missed: sealed under the tenant's prefix."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId
from schemas.base.redaction import IdentifierType
from schemas.base.timestamps import Timestamp

MOST_TERMS = 20_000
TERM_PATTERN = r"^\S(?:[^\r\n\t]{0,198}\S)?$"
TermText = Annotated[str, StringConstraints(pattern=TERM_PATTERN)]
"""PHI: it may stand nowhere but in sealed records, and in the memory of who compares texts with it."""


class Term(Contract):
    """What identifies somebody wherever it stands: a member of staff, a ward, a local place."""

    text: TermText = Field(repr=False)
    kind: IdentifierType = IdentifierType.PERSON


class TermList(Contract):
    """A tenant's terms, in the order in which they were added."""

    terms: tuple[Term, ...] = Field(default=(), max_length=MOST_TERMS, repr=False)
    allowed: tuple[TermText, ...] = Field(
        default=(),
        max_length=MOST_TERMS,
        repr=False,
        description="what is no identifier here",
    )
    version: str = Field(
        default="",
        pattern=r"^(?:[0-9a-z]{12})?$",
        description="random, another with every change: part of the gate's version in verdicts; empty: never changed",
    )


class Rescan(Contract):
    """A search of every example for an identifier that a reviewer found missed; it is there until it is over."""

    term: Term = Field(repr=False)
    example_id: OpaqueId = Field(description="in which it was found")
    reviewer_id: OpaqueId
    asked_at: Timestamp
    after: str | None = Field(default=None, description="the last text that was searched; absent: none yet")
