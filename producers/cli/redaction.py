"""Redacts texts on this machine, without any stack: ``sano redact``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from producers.cli.options import JsonOption


def add_to(app: typer.Typer) -> None:
    app.command()(redact)


def redact(
    file: Annotated[
        Path | None, typer.Argument(help="JSON Lines of id and text; standard input if absent or -.")
    ] = None,
    terms: Annotated[
        Path | None, typer.Option("--terms", help="Your own identifiers, one a line: staff, wards, places.")
    ] = None,
    allow: Annotated[Path | None, typer.Option("--allow", help="Terms that are no identifiers, one a line.")] = None,
    shift_dates: Annotated[
        bool, typer.Option("--shift-dates", help="Move each line's dates by one random number of days, and show them.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Replace what identifies a person by placeholders.

    Line by line, in order; nothing leaves this machine.

    A line that cannot be read is reported and the others go on; the exit status is 1 then.
    """
    from producers.sources.redaction_lines import read_terms, redacted_lines
    from tenancy.errors import Refused
    from tenancy.redaction.standard import standard_gate

    given = read_terms(terms, allow)
    refused = 0
    source = str(file) if file else "standard input"
    with _opened(file) as lines:
        out = sys.stdout.buffer
        try:
            for outcome in redacted_lines(lines, standard_gate(), source, given, shift_dates):
                if isinstance(outcome, Refused):
                    refused += 1
                    typer.echo(f"error: {outcome}", err=True)
                    continue
                line = outcome.as_json() if json else f"{outcome.id}\t{outcome.text}"
                out.write(line.encode() + b"\n")
                out.flush()
        except BrokenPipeError:  # `sano redact … | head`: who reads has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
    if refused:
        raise typer.Exit(1)


@contextmanager
def _opened(file: Path | None) -> Iterator[BinaryIO]:
    from tenancy.errors import Refused

    if file is None or str(file) == "-":
        yield sys.stdin.buffer
        return
    try:
        opened = file.open("rb")
    except OSError as error:
        raise Refused("unreadable-file", f"refused: {file} cannot be read ({error.strerror}); give a file") from None
    with opened:
        yield opened
