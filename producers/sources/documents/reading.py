"""Reads a file as a document, in a process of its own that costs no more than its bounds. No error quotes the file."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from producers.sources.documents.blocks import Block
from producers.sources.documents.parser_process import Parsed
from producers.sources.documents.parsing import MAX_CHARACTERS
from tenancy.errors import Refused
from tenancy.platform.given_files import open_handed_over

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_ANSWER_BYTES = 16 * MAX_CHARACTERS
"""Of JSON: a character takes six bytes at most, and a part's fields some fifty."""
TITLE_CHARACTERS = 300
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(sys.path)}
"""Nothing of this process's own, which names keys: other people's files are parsed there."""


@dataclass(frozen=True)
class Bounds:
    """What reading one file may take: of a core, of memory beyond the libraries', and by the clock where the machine
    gives it no core."""

    cpu_seconds: int = 30
    memory_bytes: int = 512 * 1024 * 1024
    seconds: float = 300.0


BOUNDS = Bounds()


@dataclass(frozen=True)
class ReadDocument:
    """A document as its file has it, before redaction. ``name`` is what its id is made of. One without parts is said to
    count no more."""

    title: str
    blocks: tuple[Block, ...]
    name: str


ParseBody = Callable[[str, bytes], Awaitable[tuple[Block, ...]]]


async def read_document(path: Path, title: str | None = None, bounds: Bounds = BOUNDS) -> ReadDocument:
    """The file's headings, paragraphs and rows. Its title is the one given, its first heading, or its name.

    Raises :class:`Refused` for a kind of file that is not known, for one that is empty, too long or damaged, and for
    one that takes more than its bounds.
    """
    with opened(path) as file:
        try:
            blocks = await parse_body(path.suffix.lower(), file, bounds)
        except Refused as refusal:
            raise Refused(refusal.code, f"{path}: {refusal}") from None
    return titled(path.name, title, blocks)


async def parse_body(kind: str, body: BinaryIO | bytes, bounds: Bounds = BOUNDS) -> tuple[Block, ...]:
    """The parts of a file whose name ends in ``kind``, or would, were it in a folder. As :func:`read_document`, but the
    refusals name no place."""
    try:
        said = await _parsed(kind, body, bounds)
    except (TimeoutError, ValidationError):
        most = f"{bounds.cpu_seconds} s of a core or {bounds.memory_bytes // 1024**2} MiB"
        why = f"refused: reading it takes more than {most}; save it anew as text or HTML, or split it"
        raise Refused("document-too-costly", why) from None
    if said.refusal is not None:
        raise Refused(*said.refusal)
    return said.blocks


def titled(name: str, title: str | None, blocks: tuple[Block, ...]) -> ReadDocument:
    """The document of this name: with the title given, its first heading, or its name."""
    stem = Path(name).stem
    first = next((block.text for block in blocks if block.kind == "heading"), stem)
    return ReadDocument((title or first)[:TITLE_CHARACTERS].strip() or stem, blocks, name)


def opened(path: Path) -> BinaryIO:
    """The file. Raises :class:`Refused` for one that is too long, and as :func:`open_handed_over`."""
    file = open_handed_over(path)
    if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
        file.close()
        raise Refused("document-too-long", f"{path}: refused: it has more than {MAX_FILE_BYTES} bytes; split it")
    return file


async def _parsed(kind: str, body: BinaryIO | bytes, bounds: Bounds) -> Parsed:
    """Raises :class:`TimeoutError`, and :class:`ValidationError` where the process ended before it had answered."""
    limits = (str(bounds.cpu_seconds), str(bounds.memory_bytes))
    command = (sys.executable, "-m", "producers.sources.documents.parser_process", kind, *limits)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE if isinstance(body, bytes) else body,
        stdout=PIPE,
        stderr=DEVNULL,
        env=ENVIRONMENT,
        limit=MAX_ANSWER_BYTES,
    )
    try:
        async with asyncio.timeout(bounds.seconds):
            if isinstance(body, bytes):
                await _given(process, body)
            return Parsed.model_validate_json(await _answer(process))
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _given(process: Process, body: bytes) -> None:
    """The whole of it, which the process reads before it says anything; or as much as it lived to read."""
    if process.stdin is not None:
        with suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(body)
            await process.stdin.drain()
        process.stdin.close()


async def _answer(process: Process) -> bytes:
    """What it says, as far as a document may go; more is no answer."""
    if process.stdout is None:
        return b""
    try:
        return (await process.stdout.readexactly(MAX_ANSWER_BYTES + 1))[:0]
    except asyncio.IncompleteReadError as ended:
        return ended.partial
