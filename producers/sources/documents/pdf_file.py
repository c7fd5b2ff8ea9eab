"""Reads PDF: the text of each page as it is laid out, so that a table's row stays one line.

A PDF says where glyphs stand and not what is a table. Lines with wide gaps are taken for rows, and the first of several
for the names of their columns where it looks like them. A file of another kind is the better source of a formulary.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from producers.sources.documents.blocks import Block, rows, text
from tenancy.errors import Refused

MAX_PAGES = 1000

_CELL = re.compile(r"\S+(?: {1,2}\S+)*")
"""What three blanks keep apart are cells."""


@dataclass(frozen=True)
class _Cell:
    start: int
    end: int
    text: str

    def is_below(self, other: _Cell) -> bool:
        return self.start < other.end and other.start < self.end


@dataclass
class _Table:
    """Rows of one page, with the columns where the cells of its first line stand."""

    columns: list[_Cell]
    headers: int | None
    rows: list[list[str]] = field(default_factory=list)

    def has(self, cells: list[_Cell]) -> bool:
        """Take in a line that is a row of it: of as many cells, or of fewer that each stand below one column."""
        if len(cells) == len(self.columns):
            self.rows.append([cell.text for cell in cells])
            return True
        below = [[place for place, column in enumerate(self.columns) if cell.is_below(column)] for cell in cells]
        places = [places[0] for places in below if len(places) == 1]
        is_text = len(cells) == 1 and places == [0]  # a line below it, or across it
        if is_text or len(set(places)) < len(cells) or not cells:
            return False
        row = [""] * len(self.columns)
        for place, cell in zip(places, cells, strict=True):
            row[place] = cell.text
        self.rows.append(row)
        return True


def pdf_blocks(body: bytes) -> Iterator[Block]:
    """Raises :class:`Refused` for an encrypted file and for one of too many pages."""
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(body))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Refused("unreadable-file", "refused: it is encrypted; save it without a password")
    if len(reader.pages) > MAX_PAGES:
        raise Refused("document-too-long", f"refused: it has more than {MAX_PAGES} pages; split it")
    before: _Table | None = None
    for page in reader.pages:
        parts = list(_page(page.extract_text(extraction_mode="layout").splitlines(), before))
        for part in parts:
            yield from rows(part.rows, part.headers) if isinstance(part, _Table) else text(part)
        before = next((part for part in reversed(parts[-2:]) if isinstance(part, _Table)), None)  # above a footer


def _page(lines: list[str], before: _Table | None) -> Iterator[_Table | str]:
    """Its paragraphs and tables. An empty line ends a paragraph and no table: the layout leaves some between rows that
    stand apart. ``before``: the table that the page before ends with, which may go on.
    """
    table: _Table | None = None
    words: list[str] = []
    between = 0
    for line in lines:
        cells = [_Cell(*match.span(), match.group()) for match in _CELL.finditer(line)]
        if table is not None and table.has(cells):
            continue
        if table is not None and cells:
            yield table
            before, table, between = table, None, 0
        if len(cells) > 1:
            if words:
                yield " ".join(words)
                words = []
            table = _Table(cells, _headers(cells, before, between))
            table.has(cells)
        elif cells:
            words.append(cells[0].text)
            between += 1
        elif words:
            yield " ".join(words)
            words = []
    if words:
        yield " ".join(words)
    if table is not None:
        yield table


def _headers(cells: list[_Cell], before: _Table | None, between: int) -> int | None:
    """How many rows of a table name its columns, if that is known. One that may go on from the one before has names
    only where it says them again: behind an end of a page, a line that stands below no column, or one of words.
    """
    if before is None or between > 1 or (between and len(before.columns) != len(cells)):
        return None
    return int([cell.text for cell in cells] == [cell.text for cell in before.columns])
