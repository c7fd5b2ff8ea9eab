"""Yields the conversations of a file that nobody redacted or reviewed yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from producers.sources.approvals_file import RawLine, line_refused, read_lines
from producers.sources.source import Candidate, Said
from schemas.base.canonical import canonical_json
from schemas.bus.events import ConsentGranted, SourceKind


@dataclass(frozen=True)
class RawFile:
    """A source. The whole file is validated before the first candidate comes out of it."""

    path: Path
    kind: SourceKind = "file"

    def said(self) -> Iterator[Said]:
        """The consents that its lines name, granted in their version 1: one that was revoked since stays revoked. Then
        the conversations. Raises :class:`~tenancy.errors.Refused` (``FILE:LINE: refused: why``).
        """
        found: dict[str, int] = {}
        candidates = []
        for number, line in read_lines(self.path, RawLine):
            candidate = _candidate(line, f"{self.path}:{number}")
            name = candidate.example_id or candidate.natural_key
            if name in found:
                why = f"it is the example of line {found[name]} again; keep one of them"
                raise line_refused(self.path, number, "repeated-line", why)
            found[name] = number
            candidates.append(candidate)
        for consent_id in dict.fromkeys(one.consent_id for one in candidates if one.consent_id is not None):
            yield ConsentGranted(consent_id=consent_id, version=1)
        yield from candidates


def _candidate(line: RawLine, place: str) -> Candidate:
    return Candidate(
        messages=line.messages,
        natural_key=canonical_json([message.model_dump() for message in line.messages]).decode(),
        version=line.version,
        example_id=line.example_id,
        author_id=line.author,
        consent_id=line.consent,
        place=place,
    )
