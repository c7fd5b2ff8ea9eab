"""Parses a file's bytes, by what its name ends in, no further than a document may go. No error quotes the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from producers.sources.documents.blocks import Block, text
from producers.sources.documents.docx_file import docx_blocks
from producers.sources.documents.html_text import html_blocks, markdown_blocks
from producers.sources.documents.pdf_file import pdf_blocks
from schemas.bus.content import DOCUMENT_BLOCKS
from tenancy.errors import Refused

MAX_CHARACTERS = 120_000
"""About 60 pages. A document is indexed as a whole, within the deadline of one handling."""

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


def parsed(kind: str, body: bytes) -> tuple[Block, ...]:
    """The headings, paragraphs and rows of a file whose name ends in ``kind``.

    Raises :class:`Refused` for a kind that is not known, and for a file that is empty, too long or damaged.
    """
    reader = READERS.get(kind)
    if reader is None:
        raise Refused(
            "unknown-format",
            f"refused: it is of no kind that can be read; give one of {', '.join(READERS)}, .json or .ndjson",
        )
    try:
        blocks = tuple(within_bounds(reader(body)))
    except (Refused, MemoryError):
        raise
    except UnicodeDecodeError:
        raise Refused("unreadable-file", "refused: it is not UTF-8; save it in that encoding") from None
    except Exception as error:  # whatever a parser makes of a damaged file; its words may quote it
        why = f"refused: it is damaged or not what its name says ({type(error).__name__}); save it anew"
        raise Refused("unreadable-file", why) from None
    if not blocks:
        raise Refused("empty-document", "refused: it holds no text; a scan needs text recognition first")
    return blocks


def within_bounds(blocks: Iterable[Block]) -> Iterator[Block]:
    """Reads no further than a document may go: a small file can unpack to text without end. Raises
    :class:`Refused`."""
    characters = 0
    for number, block in enumerate(blocks, 1):
        characters += len(block.text)
        if characters > MAX_CHARACTERS or number > DOCUMENT_BLOCKS:
            most = f"{MAX_CHARACTERS} characters or {DOCUMENT_BLOCKS} parts"
            raise Refused("document-too-long", f"refused: it has more than {most}; split it")
        yield block
