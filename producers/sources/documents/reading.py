"""Reads a file as a document, by what its name ends in. No error quotes the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from producers.sources.documents.blocks import Block, text
from producers.sources.documents.docx_file import docx_blocks
from producers.sources.documents.html_text import html_blocks, markdown_blocks
from producers.sources.documents.pdf_file import pdf_blocks
from schemas.bus.content import DOCUMENT_BLOCKS
from tenancy.errors import Refused

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_CHARACTERS = 120_000
"""About 60 pages. A document is indexed as a whole, within the deadline of one handling."""
TITLE_CHARACTERS = 300

Reader = Callable[[bytes], Iterable[Block]]


def _plain(body: bytes) -> Iterator[Block]:
    for paragraph in _decoded(body).replace("\r\n", "\n").split("\n\n"):
        yield from text(paragraph)


def _decoded(body: bytes) -> str:
    return body.decode("utf-8-sig")


READERS: dict[str, Reader] = {
    ".md": lambda body: markdown_blocks(_decoded(body)),
    ".markdown": lambda body: markdown_blocks(_decoded(body)),
    ".txt": _plain,
    ".html": html_blocks,
    ".htm": html_blocks,
    ".pdf": pdf_blocks,
    ".docx": docx_blocks,
}


def _within_bounds(blocks: Iterable[Block]) -> Iterator[Block]:
    """Reads no further than a document may go: a small file can unpack to text without end."""
    characters = 0
    for number, block in enumerate(blocks, 1):
        characters += len(block.text)
        if characters > MAX_CHARACTERS or number > DOCUMENT_BLOCKS:
            most = f"{MAX_CHARACTERS} characters or {DOCUMENT_BLOCKS} parts"
            raise Refused("document-too-long", f"refused: it has more than {most}; split it")
        yield block


@dataclass(frozen=True)
class ReadDocument:
    """A document as its file has it, before redaction."""

    title: str
    blocks: tuple[Block, ...]


def read_document(path: Path, title: str | None = None) -> ReadDocument:
    """The file's headings, paragraphs and rows. Its title is the one given, its first heading, or its name.

    Raises :class:`Refused` for a kind of file that is not known, and for one that is empty, too long or damaged.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        kinds = ", ".join(READERS)
        raise Refused("unknown-format", f"refused: {path} is of no kind that can be read; it is one of {kinds}")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise Refused("document-too-long", f"refused: {path} has more than {MAX_FILE_BYTES} bytes; split it")
        body = path.read_bytes()
    except OSError as error:
        raise Refused("unreadable-file", f"refused: {path} cannot be read ({error.strerror}); give a file") from None
    try:
        blocks = tuple(_within_bounds(reader(body)))
    except Refused as refusal:
        raise Refused(refusal.code, f"{path}: {refusal}") from None
    except UnicodeDecodeError:
        raise Refused("unreadable-file", f"refused: {path} is not UTF-8; save it in that encoding") from None
    except Exception as error:  # whatever a parser makes of a damaged file; its words may quote it
        why = f"refused: {path} is damaged or not what its name says ({type(error).__name__}); save it anew"
        raise Refused("unreadable-file", why) from None
    if not blocks:
        raise Refused("empty-document", f"refused: {path} holds no text; a scan needs text recognition first")
    first = next((block.text for block in blocks if block.kind == "heading"), path.stem)
    return ReadDocument((title or first)[:TITLE_CHARACTERS].strip() or path.stem, blocks)
