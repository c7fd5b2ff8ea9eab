"""Defines the port of redaction: what producers, curation and training ask of a gate, and what a detector offers it.

Recall comes first: what any one detector finds is replaced. A gate keeps nothing between calls, and neither its
reports nor its errors hold text, so that both may be stored, logged and published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from schemas.base.redaction import IdentifierType, RedactionReport
from schemas.bus.content import ChatMessage


@dataclass(frozen=True, order=True)
class Span:
    """One identifier: ``text[start:end]`` in the characters of the text that was given, and who found it."""

    start: int
    end: int
    type: IdentifierType
    detector: str


@dataclass(frozen=True)
class RedactedText:
    """A text with placeholders. The spans refer to the text before."""

    text: str
    spans: tuple[Span, ...]
    report: RedactionReport


@dataclass(frozen=True)
class RedactedMessages:
    """A conversation with placeholders, and the spans of each message before. One value has one placeholder in all."""

    messages: tuple[ChatMessage, ...]
    spans: tuple[tuple[Span, ...], ...]
    report: RedactionReport


@dataclass(frozen=True)
class TenantTerms:
    """A tenant's own words. Both kinds match whole words, in any case.

    ``identifiers``: staff, wards, local places: replaced wherever they stand, whatever ``allowed`` says of them.
    ``allowed``: what is never an identifier here, such as the product names of the tenant's own formulary. It applies
    to a span that is made of allowed terms alone. ``version``: lower-case letters and digits that change with the
    terms; it becomes part of the gate's version. No hash of them: a name is found from its hash in no time.
    """

    identifiers: Mapping[str, IdentifierType] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()
    version: str = ""


class Detector(Protocol):
    """One independent way to find identifiers. ``name`` is a code and stands in every span it finds.

    :meth:`find` gets text whose form is settled (see :mod:`tenancy.redaction.reading`) and may be called from any
    thread. Its time is bounded by the text's length, whatever the text.
    """

    @property
    def name(self) -> str: ...

    def find(self, text: str) -> Iterable[Span]: ...


class RedactionGate(Protocol):
    """Finds and replaces identifiers. Blocks for milliseconds a text: call it in a thread from asynchronous code.

    Each method may raise :class:`~tenancy.errors.Refused` (``text-too-long``); nothing was let through then.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Changes whenever the same text may be judged otherwise: rules, models, the tenant's terms."""
        ...

    def scan(self, text: str) -> tuple[Span, ...]:
        """Every identifier in ``text``, in order, without overlaps. Placeholders are none."""
        ...

    def redact(self, messages: Sequence[ChatMessage]) -> RedactedMessages:
        """Replace every identifier of a conversation. A gate finds nothing in what it has redacted."""
        ...

    def redact_text(self, text: str) -> RedactedText:
        """:meth:`redact` for one text."""
        ...
