"""Reads PDF: the text of each page as it is laid out, so that a table's row stays one line.

A PDF says where glyphs stand and not what is a table. Lines with wide gaps are taken for rows, and the first of several
for the names of their columns. A file of another kind is the better source of a formulary.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from producers.sources.documents.blocks import Block, rows, text
from tenancy.errors import Refused

MAX_PAGES = 1000

_GAP = re.compile(r" {3,}")


def pdf_blocks(body: bytes) -> Iterator[Block]:
    """Raises :class:`Refused` for an encrypted file and for one of too many pages."""
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(body))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Refused("unreadable-file", "refused: it is encrypted; save it without a password")
    if len(reader.pages) > MAX_PAGES:
        raise Refused("document-too-long", f"refused: it has more than {MAX_PAGES} pages; split it")
    for page in reader.pages:
        yield from _page(page.extract_text(extraction_mode="layout").splitlines())


def _page(lines: list[str]) -> Iterator[Block]:
    """An empty line ends a paragraph and no table: the layout leaves some between rows that stand apart."""
    table: list[list[str]] = []
    words: list[str] = []
    for line in lines:
        cells = _GAP.split(line.strip()) if line.strip() else []
        if len(cells) > 1 and (not table or len(cells) == len(table[0])):
            yield from text(" ".join(words))
            words = []
            table.append(cells)
            continue
        if cells and table:
            yield from rows(table)
            table = [cells] if len(cells) > 1 else []
        if len(cells) == 1:
            words.append(cells[0])
        elif not cells:
            yield from text(" ".join(words))
            words = []
    yield from text(" ".join(words))
    yield from rows(table)
