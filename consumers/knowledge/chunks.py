"""Cuts a document into passages by its structure: under one heading, up to a size, never within a row.

A passage carries the titles that it stands under. They are embedded and searched with it, since a row of a table
seldom says what it is about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.bus.content import DocumentContent
from tenancy.knowledge.segments import Passage

PASSAGE_CHARACTERS = 600
"""About 150 tokens of English, of the 256 that all-MiniLM-L6-v2 reads."""
PATH_CHARACTERS = 160

_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")


def passages_of(document_id: str, version: int, content: DocumentContent) -> list[Passage]:
    """The document's passages, in reading order. One of headings alone has its title as its only passage."""
    found = [Passage(document_id, version, path, text) for path, text in _grouped(content)]
    return found or [Passage(document_id, version, content.title[:PATH_CHARACTERS], content.title)]


def halves(passage: Passage) -> tuple[Passage, Passage]:
    """The passage in two, for an embedder that reads less: at the blank nearest to its middle, if there is one."""
    text, middle = passage.text, len(passage.text) // 2
    blanks = [match.start() for match in re.finditer(r"\s", text) if 0 < match.start() < len(text) - 1]
    at = min(blanks, key=lambda place: abs(place - middle), default=middle)
    return (
        Passage(passage.document_id, passage.version, passage.path, text[:at].strip()),
        Passage(passage.document_id, passage.version, passage.path, text[at:].strip()),
    )


def _grouped(content: DocumentContent) -> Iterator[tuple[str, str]]:
    titles: dict[int, str] = {0: content.title}
    held: list[str] = []

    def path() -> str:
        said = dict.fromkeys(titles[level] for level in sorted(titles))
        return " > ".join(said)[-PATH_CHARACTERS:]

    for block in content.blocks:
        if block.kind == "heading":
            if held:
                yield path(), "\n".join(held)
                held = []
            titles = {level: title for level, title in titles.items() if level < block.level}
            titles[block.level] = block.text
            continue
        for piece in [block.text] if block.kind == "row" else _sentences(block.text):
            if held and sum(map(len, held)) + len(piece) > PASSAGE_CHARACTERS:
                yield path(), "\n".join(held)
                held = []
            held.append(piece)
    if held:
        yield path(), "\n".join(held)


def _sentences(text: str) -> Iterator[str]:
    """A paragraph in pieces that fit: at the ends of sentences, else between words."""
    piece = ""
    for sentence in _SENTENCE_END.split(text):
        for part in _cut(sentence):
            if piece and len(piece) + 1 + len(part) > PASSAGE_CHARACTERS:
                yield piece
                piece = ""
            piece = f"{piece} {part}" if piece else part
    if piece:
        yield piece


def _cut(sentence: str) -> Iterator[str]:
    while len(sentence) > PASSAGE_CHARACTERS:
        at = sentence.rfind(" ", 1, PASSAGE_CHARACTERS)
        at = at if at > 0 else PASSAGE_CHARACTERS
        yield sentence[:at]
        sentence = sentence[at:].strip()
    if sentence:
        yield sentence
