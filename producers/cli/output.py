"""Prints tables and JSON on stdout, progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import zip_longest
from json import dumps
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.progress import Progress, ProgressColumn

    from producers.progress import Progress as CountedProgress
    from producers.queries.waiting import Report

PIPED_WIDTH = 200  # nobody wants a digest broken in two because a pipe is "80 wide"

Cell = Callable[[Any], object]


def print_json(value: object) -> None:
    """One JSON document: a model, or a list or mapping of what JSON has."""
    sys.stdout.write(dumps(value, indent=2, default=_plain) + "\n")


def _plain(value: Any) -> object:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_done(done: BaseModel, sentence: str, *, json: bool) -> None:
    """What a command did, in JSON or in a sentence."""
    if json:
        print_json(done)
    else:
        sys.stdout.write(f"{sentence}\n")


def print_rows(rows: Sequence[BaseModel], columns: Mapping[str, Cell], *, empty: str = "", json: bool = False) -> None:
    """All rows in JSON; or a table with one row a model, and ``empty`` when there is none."""
    if json:
        print_json(rows)
    elif not rows:
        sys.stdout.write(f"{empty}\n")
    else:
        _print_table([[_text(cell(row)) for cell in columns.values()] for row in rows], list(columns))


async def print_pages(
    pages: AsyncIterator[Sequence[BaseModel]], columns: Mapping[str, Cell], *, empty: str, json: bool
) -> None:
    """Print each page when it comes: as rows of a table, or as elements of one JSON array."""
    widths, is_first = [0] * len(columns), True
    async for page in pages:
        if not page:
            continue
        if json:
            dumped = (indent(dumps(row, indent=2, default=_plain), "  ") for row in page)
            sys.stdout.write(("[\n" if is_first else ",\n") + ",\n".join(dumped))
        else:
            rows = [[_text(cell(row)) for cell in columns.values()] for row in page]
            widths = [
                max(width, *map(len, cells)) for width, cells in zip(widths, zip(*rows, strict=True), strict=True)
            ]
            _print_table(rows, list(columns), widths, has_header=is_first)
        sys.stdout.flush()
        is_first = False
    if json:
        sys.stdout.write("[]\n" if is_first else "\n]\n")
    elif is_first:
        sys.stdout.write(f"{empty}\n")


def _print_table(
    rows: Iterable[Iterable[str]], headings: Sequence[str], widths: Sequence[int] = (), *, has_header: bool = True
) -> None:
    """``widths``: what the columns need at least, so that pages stand under each other."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", show_header=has_header)
    for heading, width in zip_longest(headings, widths, fillvalue=0):
        table.add_column(str(heading), overflow="fold", min_width=max(len(str(heading)), int(width)))
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, markup=False, highlight=False).print(table)


def print_facts(facts: Mapping[str, object]) -> None:
    """One ``name: value`` a line, aligned."""
    width = max(map(len, facts), default=0) + 1
    sys.stdout.writelines(f"{f'{name}:':<{width}} {_text(value)}\n" for name, value in facts.items())


def short(digest: str | None) -> str:
    """The first digits of a digest, which every command takes for the whole."""
    return digest[:12] if digest else "-"


def duration(seconds: float | None) -> str:
    """Whole days, hours or minutes; overdue when negative."""
    if seconds is None:
        return "-"
    left, sign = abs(seconds), "overdue by " if seconds < 0 else ""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if left >= length:
            return f"{sign}{left / length:.1f} {unit}"
    return f"{sign}{left:.0f} s"


def _text(value: object) -> str:
    if value is None or value == ():
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def write_file(path: Path, body: bytes, again: str) -> None:
    """Write a document that can be had again by the command ``again``. Raises :class:`Refused`."""
    from tenancy.platform.given_files import writing

    with writing(path, f"; `{again}` writes it again"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


async def write_documents(
    folder: Path, kind: str, ids: Iterable[str], signed: Callable[[str], Awaitable[bytes]], again: str
) -> None:
    """Write the document of each id into ``folder``, as ``<id>.<kind>.json``. Raises :class:`Refused`."""
    for document_id in ids:
        write_file(folder / f"{document_id}.{kind}.json", await signed(document_id), again)


@contextmanager
def counted(label: str) -> Iterator[CountedProgress]:
    """A bar that is told how many of how many are done."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    with bars(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()) as progress:
        task = progress.add_task(label, total=None)
        yield lambda what, done, total: progress.update(task, description=what, completed=done, total=total)


@contextmanager
def waiting(label: str) -> Iterator[Report]:
    """A bar that moves while something of unknown length goes on, and says where it stands."""
    from rich.progress import BarColumn, TextColumn

    with bars(TextColumn(f"{label}: {{task.description}}"), BarColumn()) as progress:
        task = progress.add_task("requested", total=None)
        yield lambda status: progress.update(task, description=status)


def bars(*columns: ProgressColumn) -> Progress:
    """Progress on stderr with the time that has passed, which leaves nothing behind; silent where nobody looks."""
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn

    console = Console(stderr=True)
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal)
