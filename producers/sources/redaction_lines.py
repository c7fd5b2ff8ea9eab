"""Redacts JSON Lines of ``id`` and ``text``, one by one and in order: a line is out before the next is read.

A line that cannot be redacted gets an error that names its number and the rule, and quotes nothing. The others go on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.base.json_text import parse_json
from schemas.base.redaction import IdentifierType
from tenancy.errors import Refused
from tenancy.platform.given_files import read_given
from tenancy.redaction.port import RedactionGate
from tenancy.redaction.shifted_dates import DateShift
from tenancy.redaction.terms import TenantTerms

LONGEST_LINE = 8 * 1024 * 1024


@dataclass(frozen=True)
class RedactedLine:
    """One line's outcome."""

    id: str | int
    text: str
    spans: tuple[dict[str, Any], ...]
    gate: str
    gate_version: str

    def as_json(self) -> str:
        return json.dumps(self.__dict__, ensure_ascii=False)


def redacted_lines(
    lines: Iterable[bytes],
    gate: RedactionGate,
    source: str,
    terms: TenantTerms | None = None,
    shift_dates: bool = False,
) -> Iterator[RedactedLine | Refused]:
    """The outcome of each line that is not blank, in order. ``source`` names the input in errors.

    ``shift_dates``: by a random distance that is another one for each line, and is forgotten with it.
    """
    for number, raw in enumerate(lines, start=1):
        if not raw.strip() or (number == 1 and raw.strip() == b"\xef\xbb\xbf"):
            continue
        try:
            yield _redacted(raw, number, gate, terms, DateShift(os.urandom(32)) if shift_dates else None)
        except Refused as refusal:
            yield Refused(refusal.code, f"{source}:{number}: {refusal}")


def _redacted(
    raw: bytes, number: int, gate: RedactionGate, terms: TenantTerms | None, dates: DateShift | None
) -> RedactedLine:
    line_id, text = _parsed(raw, first=number == 1)
    done = gate.redact_text(text, terms=terms, dates=dates)
    spans = tuple(
        {"start": span.start, "end": span.end, "type": str(span.type), "detector": span.detector} for span in done.spans
    )
    return RedactedLine(line_id, done.text, spans, done.report.gate, done.report.version)


def _parsed(raw: bytes, first: bool) -> tuple[str | int, str]:
    if len(raw) > LONGEST_LINE:
        raise _bad(f"the line is longer than {LONGEST_LINE // 1024**2} MiB; split its text")
    try:
        line = parse_json(raw.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError:
        raise _bad("the line is not UTF-8; save the file in that encoding") from None
    except ValueError:
        raise _bad("the line is not JSON; write one JSON object on each line") from None
    if not isinstance(line, dict):
        raise _bad("the line is not a JSON object; write one on each line")
    line_id, text = line.get("id"), line.get("text")
    if isinstance(line_id, bool) or not isinstance(line_id, str | int) or line_id == "":
        raise _bad("id is missing or neither text nor a whole number")
    if not isinstance(text, str):
        raise _bad("text is missing or no text")
    if any("\ud800" <= character <= "\udfff" for character in f"{line_id}{text}"):
        raise _bad("half a character, a lone surrogate, is in it; write the character itself")
    return line_id, text


def _bad(why: str) -> Refused:
    return Refused("bad-line", f"refused: {why}")


def read_terms(terms: Path | None, allowed: Path | None) -> TenantTerms:
    """A tenant's terms from files with one a line. Raises :class:`Refused`.

    A line of ``terms`` may begin with a kind and a tab (``CLINICIAN<tab>Okonkwo``); PERSON without. Lines that begin
    with ``#`` are comments.
    """
    identifiers: dict[str, IdentifierType] = {}
    for number, line in _term_lines(terms):
        kind, tab, term = line.partition("\t")
        if tab and kind not in IdentifierType.__members__:
            kinds = ", ".join(IdentifierType)
            raise Refused("bad-term", f"refused: {terms}:{number}: before the tab stands no kind; one of {kinds}")
        identifiers[term if tab else line] = IdentifierType(kind) if tab else IdentifierType.PERSON
    return TenantTerms(identifiers, frozenset(line for _, line in _term_lines(allowed)))


def _term_lines(path: Path | None) -> list[tuple[int, str]]:
    if path is None:
        return []
    body = read_given(path)
    try:
        lines = body.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise Refused("unreadable-file", f"refused: {path} is not UTF-8; save it in that encoding") from None
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
