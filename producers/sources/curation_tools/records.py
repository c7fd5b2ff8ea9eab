"""Defines what a curation tool holds of one conversation, and finds in it the version that is current and its reviews.

A record's own answer is its version 1. An annotator who submits another answer writes a later version, numbered by the
milliseconds of the annotation's time, so that reading the record again gives the same versions. An annotator who
approves or rejects reviews the text that was seen: the record's own, or the very text that the annotator submitted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from producers.sources.source import Candidate, Said
from producers.sources.source_key import SourceKey
from schemas.base.canonical import canonical_json
from schemas.bus.content import ChatMessage
from schemas.bus.events import ConsentGranted, SourceKind, Verdict
from tenancy.errors import Refused

MOST_CHARACTERS = 32_768


@dataclass(frozen=True)
class Annotation:
    """What one annotator submitted. ``answer`` is empty where the annotator was shown the record's own and left it."""

    annotator: str = field(repr=False)
    at: datetime
    answer: str = field(default="", repr=False)
    verdict: Verdict | None = None
    reason_code: str | None = None


@dataclass(frozen=True)
class Record:
    """One conversation as the tool holds it, read by its id. ``author`` and ``consent`` are in the hospital's words."""

    record_id: str
    updated_at: datetime
    question: str = field(repr=False)
    answer: str = field(default="", repr=False)
    author: str = field(default="", repr=False)
    consent: str = field(default="", repr=False)
    annotations: tuple[Annotation, ...] = ()


class Tool(Protocol):
    """Reads records. Both raise :class:`~tenancy.errors.Transient` where the tool does not answer, and
    :class:`~tenancy.errors.Refused` where it refuses or its answer cannot be read."""

    @property
    def name(self) -> str: ...

    async def record(self, record_id: str) -> Record | None:
        """None for one that is gone, or is of another project."""
        ...

    async def changed(self, since: datetime | None) -> list[str]:
        """The ids of the records that changed at ``since`` or later; of all without it."""
        ...


@dataclass(frozen=True)
class Reviewed:
    """One annotator's verdict on the current version."""

    reviewer_id: str
    verdict: Verdict
    reason_code: str | None


@dataclass(frozen=True)
class Current:
    """A source: the version that is current, and what its reviewers say of it."""

    candidate: Candidate
    reviews: tuple[Reviewed, ...]
    kind: SourceKind = "curation-tool"

    def said(self) -> list[Said]:
        consent = self.candidate.consent_id
        return [*([ConsentGranted(consent_id=consent, version=1)] if consent is not None else []), self.candidate]


def current_version(record: Record, tool: str, key: SourceKey, tenant: str) -> Current | None:
    """None where there is no answer yet. Raises :class:`Refused`.

    Annotators, authors and consents become opaque ids under the source's key.
    """

    def person(name: str) -> str:
        return key.opaque_id("person", tenant, canonical_json([tool, name]).decode())

    own = record.answer.strip()
    edits = [one for one in record.annotations if one.answer.strip() not in ("", own) and one.verdict != "rejected"]
    edit = max(edits, key=lambda one: (one.at, one.answer), default=None)
    answer = own if edit is None else edit.answer.strip()
    if not answer:
        return None
    question = record.question.strip()
    if not question:
        raise Refused("no-question", "refused: the record has no question")
    if max(len(question), len(answer)) > MOST_CHARACTERS:
        raise Refused("text-too-long", "refused: a text of the record is too long")
    # Of several who submitted the same text the first has written it, and the others agree.
    same = [one for one in edits if edit is not None and one.answer.strip() == answer]
    first = min(same, key=lambda one: (one.at, one.annotator), default=None)
    author = record.author if first is None else first.annotator
    candidate = Candidate(
        messages=(ChatMessage(role="user", content=question), ChatMessage(role="assistant", content=answer)),
        natural_key=canonical_json([tool, record.record_id]).decode(),
        version=1 if first is None else max(2, int(first.at.timestamp() * 1000)),
        author_id=person(author) if author else None,
        consent_id=key.opaque_id("consent", tenant, record.consent) if record.consent else None,
    )
    return Current(
        candidate,
        tuple(
            Reviewed(person(one.annotator), one.verdict, one.reason_code if one.verdict == "rejected" else None)
            for one in sorted(record.annotations, key=lambda one: (one.at, one.annotator))
            if one.verdict is not None and one.annotator != author and (one.answer.strip() or own) == answer
        ),
    )
