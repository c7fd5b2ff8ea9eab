"""Makes a document's parts: headings, paragraphs, and rows of tables that keep what their columns are called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Literal

from schemas.bus.content import BLOCK_CHARACTERS, DocumentBlock

Block = DocumentBlock
_BLANKS = re.compile(r"\s+")
_DIGIT = re.compile(r"\d")
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

    ``headers``: so many of the first rows name the columns; None: whether the first one does is judged by what stands
    in it. Without names a row is its values: a name that is none would make them say what they do not. A row whose
    first cell is empty says more of the row before, and goes on with it. A single cell is a line across the table.
    """
    cells = [[folded(cell) for cell in row] for row in table]
    if len(cells) == 1:
        yield from text("; ".join(dict.fromkeys(cell for cell in cells[0] if cell)))
        return
    named = (1 if _names_columns(cells) else 0) if headers is None else headers
    names = [" ".join(dict.fromkeys(filter(None, column))) for column in zip_longest(*cells[:named], fillvalue="")]
    said, has_subject = "", False
    for row in cells[named:]:
        pairs = {
            f"{name}: {value}" if name else value: None
            for name, value in zip_longest(names, row, fillvalue="")
            if value
        }
        if len(row) == 1 and len(names) != 1:
            yield from _row(said)
            yield from text(row[0])
            said = ""
        elif said and pairs and has_subject and not row[0]:
            said = f"{said} | {'; '.join(pairs)}"
        elif pairs:
            yield from _row(said)
            said, has_subject = "; ".join(pairs), bool(row[0])
    yield from _row(said)


def _names_columns(cells: Sequence[Sequence[str]]) -> bool:
    """Whether the first row is none like the others: no cell of it has a digit, and half of a column below one has."""
    first, others = cells[0], cells[1:]
    if len(first) < 2 or any(_DIGIT.search(cell) for cell in first):
        return False
    below = ([row[place] for row in others if place < len(row)] for place, cell in enumerate(first) if cell)
    return any(2 * sum(bool(_DIGIT.search(cell)) for cell in column) >= len(column) > 0 for column in below)


def _row(said: str) -> Iterator[Block]:
    if said:
        yield from _pieces("row", said)


def _pieces(kind: Literal["text", "row"], line: str) -> Iterator[Block]:
    for start in range(0, len(line), BLOCK_CHARACTERS):
        yield Block(kind=kind, text=line[start : start + BLOCK_CHARACTERS])
