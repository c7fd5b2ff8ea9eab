"""Makes a document's parts: headings, paragraphs, and rows of tables that keep what their columns are called."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from schemas.bus.content import BLOCK_CHARACTERS, DocumentBlock

Block = DocumentBlock
_BLANKS = re.compile(r"\s+")
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


def rows(table: Sequence[Sequence[str]]) -> Iterator[Block]:
    """The rows of a table whose first row names its columns, each as ``column: value`` pairs: a row that is found by
    itself says what its numbers are. Values that are merged over columns count once.
    """
    names = [folded(cell) for cell in table[0]] if table else []
    if len(table) == 1:
        yield from text("; ".join(dict.fromkeys(name for name in names if name)))
    for row in table[1:]:
        pairs: dict[str, None] = {}
        for position, cell in enumerate(row):
            value = folded(cell)
            name = names[position] if position < len(names) else ""
            if value:
                pairs[f"{name}: {value}" if name else value] = None
        if pairs:
            yield from _pieces("row", "; ".join(pairs))


def _pieces(kind: Literal["text", "row"], line: str) -> Iterator[Block]:
    for start in range(0, len(line), BLOCK_CHARACTERS):
        yield Block(kind=kind, text=line[start : start + BLOCK_CHARACTERS])
