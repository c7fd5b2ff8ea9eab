"""Reads the texts that were written by hand: clinicians' questions, each in its own words, and no template.

``{KIND|text}`` marks an identifier. The first ones were written before the gate was changed for what it missed in them.
The last, behind :data:`LOOKED_AT`, were written afterwards, and are for counting only: whoever changes the gate does
not look at what it misses or touches there, and writes new ones behind them once somebody did.
"""

from __future__ import annotations

import re
from pathlib import Path

from schemas.base.redaction import IdentifierType
from tests.phi.texts import Part, Sample, joined

LOOKED_AT = {False: 290, True: 194}
"""Of the texts with identifiers, and of the clean ones."""

_HERE = Path(__file__).parent
_MARKED = re.compile(r"\{(\w+)\|([^}]+)\}")


def written(*, clean: bool = False) -> list[Sample]:
    """All texts, in order; ``clean`` ones hold no identifier."""
    lines = (_HERE / ("written_clean.txt" if clean else "written_with.txt")).read_text("utf-8").splitlines()
    return [joined(_parts(line)) for line in lines]


def unseen(*, clean: bool = False) -> list[Sample]:
    """Those that nobody looked at."""
    return written(clean=clean)[LOOKED_AT[clean] :]


def _parts(line: str) -> list[Part]:
    parts, at = [], 0
    for match in _MARKED.finditer(line):
        parts += [Part(line[at : match.start()]), Part(match[2], IdentifierType(match[1]))]
        at = match.end()
    return [*parts, Part(line[at:])]
