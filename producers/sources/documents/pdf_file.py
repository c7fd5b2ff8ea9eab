"""Reads PDF: the text of each page as it is laid out, so that a table's row stays one line.

A PDF says where glyphs stand and not what is a table. Lines with wide gaps are taken for rows, and the first of several
for the names of their columns where it looks like them. A file of another kind is the better source of a formulary.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from producers.sources.documents.blocks import Block, names_columns, rows, text
from tenancy.errors import Refused

MAX_PAGES = 1000

ROUNDED = 2
"""Characters by which the layout is not that of the page."""
_CELL = re.compile(r"\S+(?: {1,2}\S+)*")
"""What three blanks keep apart are cells."""


@dataclass(frozen=True)
class _Cell:
    start: int
    end: int
    text: str

    def is_below(self, other: _Cell) -> bool:
        """At its left or right end or in its middle, where a column's cells stand below each other."""
        left, right = self.start - other.start, self.end - other.end
        return min(abs(left), abs(right), abs(left + right) / 2) <= ROUNDED


@dataclass
class _Table:
    """Rows of one page, with the columns where the cells of its first line stand."""

    columns: list[_Cell]
    rows: list[list[str]] = field(default_factory=list)

    def has(self, cells: list[_Cell]) -> bool:
        """Take in a line that is a row of it: each of its cells stands below one column, another one each, the first of
        them below the first. A line below the others alone may be of the row above or of the next: it is words, and the
        table goes on behind it.
        """
        below = [[place for place, column in enumerate(self.columns) if cell.is_below(column)] for cell in cells]
        places = [places[0] for places in below if len(places) == 1]
        if not cells or len(set(places)) < len(cells) or places == [0]:
            return False
        if 0 not in places:
            self.rows.append(["; ".join(cell.text for cell in cells)])
            return True
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
    names = _Names()
    for page in reader.pages:
        for part in _page(page.extract_text(extraction_mode="layout").splitlines()):
            yield from rows(part.rows, names.of(part)) if isinstance(part, _Table) else text(part)


def _page(lines: list[str]) -> Iterator[_Table | str]:
    """Its paragraphs and tables. An empty line ends a paragraph and no table: the layout leaves some between rows that
    stand apart.
    """
    table: _Table | None = None
    words: list[str] = []
    for line in lines:
        cells = [_Cell(*match.span(), match.group()) for match in _CELL.finditer(line)]
        if table is not None and table.has(cells):
            continue
        if table is not None and cells:
            yield table
            table = None
        if len(cells) > 1:
            if words:
                yield " ".join(words)
                words = []
            table = _Table(cells)
            table.has(cells)
        elif cells:
            words.append(cells[0].text)
        elif words:
            yield " ".join(words)
            words = []
    if words:
        yield " ".join(words)
    if table is not None:
        yield table


@dataclass
class _Names:
    """Tells which tables of a file name their columns. The first one may, by what stands in its first line. What comes
    later may be more of it, behind the end of a page or a line of words: it has names only where it says them again.
    """

    met: bool = False
    said: set[tuple[str, ...]] = field(default_factory=set)

    def of(self, table: _Table) -> int:
        first = tuple(table.rows[0])
        if not self.met and len(table.rows) > 1 and names_columns(table.rows):
            self.said.add(first)
        self.met = self.met or len(table.rows) > 1
        return int(first in self.said)
