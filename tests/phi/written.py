"""Reads the texts that were written by hand: clinicians' questions, each in its own words, and no template.

``{KIND|text}`` marks an identifier. The gate was changed for what it missed in the first ones, and its token model
learns from them with other names in them. The rest, behind :data:`LOOKED_AT`, are for counting only: whoever changes
the gate does not look at what it misses or touches there, and writes new ones behind them once somebody did.
"""

from __future__ import annotations

import re
from pathlib import Path

from schemas.base.redaction import IdentifierType
from tests.phi.texts import Part, Sample, joined

LOOKED_AT = {False: 410, True: 264}
"""Of the texts with identifiers, and of the clean ones."""

EARLIER = {False: 90, True: 80}
"""Of those that nobody looked at, how many are older than version 5."""

_HERE = Path(__file__).parent
_MARKED = re.compile(r"\{(\w+)\|([^}]+)\}")


def written(*, clean: bool = False) -> list[Sample]:
    """All texts, in order; ``clean`` ones hold no identifier."""
    return [joined(parts) for parts in written_parts(clean=clean)]


def written_parts(*, clean: bool = False) -> list[list[Part]]:
    """The same, each in its parts."""
    lines = (_HERE / ("written_clean.txt" if clean else "written_with.txt")).read_text("utf-8").splitlines()
    return [_parts(line) for line in lines]


def unseen(*, clean: bool = False) -> list[Sample]:
    """Those that nobody looked at and that are older than version 5."""
    return written(clean=clean)[LOOKED_AT[clean] :][: EARLIER[clean]]


def newest(*, clean: bool = False) -> list[Sample]:
    """Those that nobody looked at and that were written for version 5: the hardest."""
    return written(clean=clean)[LOOKED_AT[clean] :][EARLIER[clean] :]


def _parts(line: str) -> list[Part]:
    parts, at = [], 0
    for match in _MARKED.finditer(line):
        parts += [Part(line[at : match.start()]), Part(match[2], IdentifierType(match[1]))]
        at = match.end()
    return [*parts, Part(line[at:])]
