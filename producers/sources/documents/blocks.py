"""Makes a document's parts: headings, paragraphs, and rows of tables that keep what their columns are called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, zip_longest
from typing import Literal

from schemas.bus.content import BLOCK_CHARACTERS, DocumentBlock

Block = DocumentBlock
_BLANKS = re.compile(r"\s+")
_DIGIT = re.compile(r"\d")
_WORD = re.compile(r"[a-z]+")
LONG_ROW, LONG_REMARK = 2_000, 200
"""Characters from which nothing is joined to a row, and a remark is not repeated."""
MOST_WORDS = 4
"""In the name of a column."""
_COLUMNS = frozenset(
    """
    drug drugs medicine medicines medication medications agent agents antibiotic antibiotics brand generic product form
    formulation preparation strength concentration dose doses dosage dosing route frequency interval duration course
    infusion volume diluent dilution max maximum min minimum loading maintenance renal hepatic egfr crcl adjustment
    indication indications contraindication contraindications caution cautions interaction interactions monitoring
    effects note notes comment comments remark remarks advice condition diagnosis organism infection treatment therapy
    alternative alternatives allergy test tests specimen sample tube range ranges target unit units result results value
    values level levels threshold ward wards department clinic site service team contact contacts phone telephone
    extension ext bleep pager fax number code codes day days date time hours step steps action score points category
    class type description risk reference source name title status quantity price cost pack parameter criteria
    """.split()  # noqa: SIM905
)
"""Words that columns of what hospitals write down are called by, where nothing else marks them."""
_HALVES = re.compile(r"[\ud800-\udfff\x00]")  # what JSON and UTF-8 cannot hold, as damaged PDFs have it


def folded(said: str) -> str:
    """One line, with single blanks."""
    return _BLANKS.sub(" ", _HALVES.sub(" ", said)).strip()


def text(said: str) -> Iterator[Block]:
    if line := folded(said):
        yield from _pieces("text", line)


def titled(level: int, said: str) -> Iterator[Block]:
    if line := folded(said):
        yield Block(kind="heading", level=min(max(level, 1), 6), text=line[:BLOCK_CHARACTERS])


def rows(table: Sequence[Sequence[str]], headers: int | None = None) -> Iterator[Block]:
    """The rows of a table, each as ``column: value`` pairs: one that is found by itself says what its numbers are.

    ``headers``: how many of the first rows name the columns. None, or all of them: :func:`names_columns` judges the
    first row. Without names a row is its values, since a wrong name would change what they say. A row whose first cell
    is empty is joined to the row before. A single cell is a line across the table.
    """
    cells = [[folded(cell) for cell in row] for row in table]
    if len(cells) < 2:
        yield from text("; ".join(dict.fromkeys(cell for row in cells for cell in row if cell)))
        return
    named = headers if headers is not None and headers < len(cells) else int(names_columns(cells))
    names = [" ".join(dict.fromkeys(filter(None, column))) for column in zip_longest(*cells[:named], fillvalue="")]
    body = cells[named:]
    goes_on = _are_subjects([row[0] for row in body if len(row) > 1])
    said = ""
    above: Sequence[str] = ()
    for row in body:
        pairs = _pairs(names, row, above)
        if len(row) == 1 and len(names) != 1:
            yield from _row(said)
            yield from text(row[0])
            said = ""
        elif said and pairs and goes_on and not row[0] and len(said) < LONG_ROW:
            said = f"{said} | {pairs}"
        elif pairs:
            yield from _row(said)
            said = pairs
        above = row
    yield from _row(said)


def _pairs(names: Sequence[str], row: Sequence[str], above: Sequence[str]) -> str:
    """A long remark that reaches over many rows is said in the first."""
    pairs: dict[str, None] = {}
    for place, (name, value) in enumerate(zip_longest(names, row, fillvalue="")):
        is_said = len(value) > LONG_REMARK and place < len(above) and above[place] == value
        if value and not is_said:
            pairs[f"{name}: {value}" if name else value] = None
    return "; ".join(pairs)


def _are_subjects(first: Sequence[str]) -> bool:
    """Whether a column says what its rows are about, and no flag of some: each thing once, and in some letters."""
    said = [cell for cell, _ in groupby(first) if cell]  # what is merged over rows is there in each
    return len(set(said)) == len(said) and any(len(cell) > 2 for cell in said)


def names_columns(cells: Sequence[Sequence[str]]) -> bool:
    """Whether the first row is none like the others: it has no digits, and each of its cells is called as columns are;
    or half of them, and half of the cells below one of them have digits.
    """
    first, others = cells[0], cells[1:]
    if len(first) < 2 or any(_DIGIT.search(cell) or len(cell.split()) > MOST_WORDS for cell in first):
        return False
    named = [place for place, cell in enumerate(first) if cell]
    usual = sum(any(word in _COLUMNS for word in _WORD.findall(first[place].lower())) for place in named)
    if usual == len(named) > 1:
        return True
    below = ([row[place] for row in others if place < len(row)] for place in named)
    has_numbers = any(2 * sum(bool(_DIGIT.search(cell)) for cell in column) >= len(column) > 0 for column in below)
    return has_numbers and 2 * usual >= len(named)


def _row(said: str) -> Iterator[Block]:
    if said:
        yield from _pieces("row", said)


def _pieces(kind: Literal["text", "row"], line: str) -> Iterator[Block]:
    for start in range(0, len(line), BLOCK_CHARACTERS):
        yield Block(kind=kind, text=line[start : start + BLOCK_CHARACTERS])
