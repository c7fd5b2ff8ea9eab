"""Reads what people give on standard input."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from tenancy.errors import Refused

MOST_CHARACTERS = 8 * 1024**2


def given_text(hint: str, too_long: Refused) -> str:
    """All of it. On a terminal ``hint`` says what is asked for. Raises ``too_long`` behind 8 Mi characters."""
    if sys.stdin.isatty():
        typer.echo(f"{hint}; end with Ctrl-D", err=True)
    text = sys.stdin.read(MOST_CHARACTERS + 1)
    if len(text) > MOST_CHARACTERS:
        raise too_long
    return text
