"""Reads the texts that were written by hand: clinicians' questions, each in its own words, and no template.

``{KIND|text}`` marks an identifier. The gate was changed for what it missed in the first ones, and its token model
learns from them with other names in them. The rest, behind :data:`LOOKED_AT`, are for counting only: whoever changes
the gate does not look at what it misses or touches there, and writes new ones behind them once somebody did.
``plain`` and those of :data:`HALVED` have files of their own.
"""

from __future__ import annotations

import re
from pathlib import Path

from schemas.base.redaction import IdentifierType
from tests.phi.texts import Part, Sample, joined

LOOKED_AT = {False: 506, True: 324}
"""Of the texts with identifiers, and of the clean ones."""

LEARNED = {False: 410, True: 264}
"""How many of these the token model learns from. By the others it is told how likely a word has to be."""

UNSEEN = {4: {False: 90, True: 80}, 5: {False: 119, True: 70}, 6: {False: 95, True: 59}}
"""How many follow that nobody looked at, by the version of the gate that they were written for: those of 5 are hard."""

HALVED = ("chat", "typed", "shift", "asked", "queries", "notes", "wards", "outside", "calls", "consult", "bedside")
"""Files in two halves, of which one was looked at."""

_HERE = Path(__file__).parent
_SENTENCE_END = re.compile(r"(?:(?<=[.?!])\s|\n)(?![^{]*\})")
_MARKED = re.compile(r"\{(\w+)\|([^}]+)\}")


def written(*, clean: bool = False) -> list[Sample]:
    """All texts, in order; ``clean`` ones hold no identifier."""
    return [joined(parts) for parts in written_parts(clean=clean)]


def written_parts(*, clean: bool = False, name: str = "written") -> list[list[Part]]:
    """The same, each in its parts."""
    return [_parts(line) for line in lines(name, clean=clean)]


def lines(name: str, *, clean: bool) -> list[str]:
    """The texts of a file as they are written there, with line breaks for ``\\n``."""
    file = _HERE / f"{name}_{'clean' if clean else 'with'}.txt"
    return [line.replace("\\n", "\n") for line in file.read_text("utf-8").splitlines()]


def plain(*, clean: bool = False) -> list[Sample]:
    """Questions in whole sentences and by the book, written once version 6 was done; it was not changed for them."""
    return [joined(parts) for parts in written_parts(clean=clean, name="plain")]


def half(name: str, *, clean: bool = False, looked_at: bool) -> list[Sample]:
    """Every second one of such a file: the first may be looked at, the others never were."""
    return [joined(parts) for parts in written_parts(clean=clean, name=name)[0 if looked_at else 1 :: 2]]


def passages(line: str) -> list[list[Part]]:
    """The sentences of one text, each in its parts."""
    return [_parts(sentence) for sentence in _SENTENCE_END.split(line)]


def unseen(version: int, *, clean: bool = False) -> list[Sample]:
    """Those that nobody looked at, of one version."""
    before = LOOKED_AT[clean] + sum(counts[clean] for of, counts in UNSEEN.items() if of < version)
    return written(clean=clean)[before:][: UNSEEN[version][clean]]


def _parts(line: str) -> list[Part]:
    parts, at = [], 0
    for match in _MARKED.finditer(line):
        parts += [Part(line[at : match.start()]), Part(match[2], IdentifierType(match[1]))]
        at = match.end()
    return [*parts, Part(line[at:])]
