"""Defines the port of redaction: what producers, curation and training ask of a gate, and what a detector offers it.

Recall comes first: what any one detector finds is replaced, but for names and places of rules and of Presidio that the
token model gives hardly a chance (:mod:`tenancy.redaction.second_opinion`). A gate keeps nothing between calls, and
neither its reports nor its errors hold text, so that both may be stored, logged and published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from schemas.base.redaction import IdentifierType, RedactionReport
from schemas.bus.content import ChatMessage

if TYPE_CHECKING:
    from tenancy.redaction.shifted_dates import DateShift
    from tenancy.redaction.terms import TenantTerms


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


class JudgingStopped(Exception):
    """Raised by :meth:`RedactionGate.judge` when it is asked to stop. Nothing was judged then."""


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

    One gate serves every tenant: a tenant's own ``terms`` come with the call, and nothing of them stays. Each method
    may raise :class:`~tenancy.errors.Refused` (``text-too-long``); nothing was let through then.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Changes whenever the same text may be judged otherwise: rules, models. A report adds the terms' version."""
        ...

    def scan(self, text: str, *, terms: TenantTerms | None = None) -> tuple[Span, ...]:
        """Every identifier in ``text``, in order, without overlaps. Placeholders are none."""
        ...

    def redact(
        self, messages: Sequence[ChatMessage], *, terms: TenantTerms | None = None, dates: DateShift | None = None
    ) -> RedactedMessages:
        """Replace every identifier of a conversation. A gate finds nothing in what it has redacted.

        ``dates``: dates are moved by it and stand in their placeholders, in order; without it they are removed.
        """
        ...

    def redact_text(
        self, text: str, *, terms: TenantTerms | None = None, dates: DateShift | None = None
    ) -> RedactedText:
        """:meth:`redact` for one text."""
        ...

    def judge(
        self, messages: Sequence[ChatMessage], should_stop: Callable[[], bool], *, terms: TenantTerms | None = None
    ) -> RedactionReport:
        """Say whether a conversation that was redacted before holds an identifier still, and how many of which kind.

        One look at each message, where :meth:`redact` looks until nothing more is found. Raises
        :class:`~tenancy.errors.Refused` (``text-too-long``) before it looks, and :class:`JudgingStopped` where
        ``should_stop``, which is asked before each message, says so.
        """
        ...
