"""Reads DOCX: headings by their styles, paragraphs, and tables in their place."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING

from producers.sources.documents.blocks import Block, rows, text, titled
from tenancy.errors import Refused

if TYPE_CHECKING:
    from docx.table import Table, _Row

MAX_UNPACKED_BYTES = 256 * 1024 * 1024

MAX_COLUMNS = 63
"""What Word allows. The library makes a cell of each column that a cell says it spans."""

_HEADING = re.compile(r"heading ([1-6])", re.IGNORECASE)


def _cells(row: _Row) -> list[str]:
    """What a merged cell says stands in each of its columns; one that is merged over all of them is a line."""
    cells = row.cells
    if len({cell._tc for cell in cells}) == 1:
        return [cells[0].text]
    return [*[""] * row.grid_cols_before, *(cell.text for cell in cells)]


def _headers(table: Table) -> int | None:
    """How many rows are marked to be repeated on each page, as names of columns are. None where none is."""
    on = "not(@w:val) or @w:val='1' or @w:val='true' or @w:val='on'"
    marked = (bool(row._tr.xpath(f"./w:trPr/w:tblHeader[{on}]")) for row in table.rows)
    return sum(takewhile(bool, marked)) or None


def docx_blocks(body: bytes) -> Iterator[Block]:
    """Raises :class:`Refused` for what would unpack to more than a document has."""
    import docx
    from docx.table import Table

    with zipfile.ZipFile(io.BytesIO(body)) as packed:
        if sum(entry.file_size for entry in packed.infolist()) > MAX_UNPACKED_BYTES:
            raise Refused("document-too-long", "refused: it unpacks to too much; split it")
    for part in docx.Document(io.BytesIO(body)).iter_inner_content():
        if isinstance(part, Table):
            if any(cell.grid_span > MAX_COLUMNS for row in part.rows for cell in row._tr.tc_lst):
                raise Refused("document-too-long", f"refused: a table has more than {MAX_COLUMNS} columns; split it")
            yield from rows([_cells(row) for row in part.rows], _headers(part))
            continue
        style = (part.style.name or "") if part.style is not None else ""
        if style == "Title":
            yield from titled(1, part.text)
        elif named := _HEADING.fullmatch(style):
            yield from titled(int(named.group(1)), part.text)
        else:
            yield from text(part.text)
