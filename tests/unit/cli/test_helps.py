"""A list of commands says of each, in one line, what it does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from producers.cli.main import app

COLUMNS = 78
"""What is written on of a terminal of 80."""


def groups(command: Any, words: str) -> Iterator[tuple[str, Any]]:
    """Every group by its words, ``sano`` itself too."""
    if hasattr(command, "list_commands"):
        yield words, command
        for name in command.list_commands(None):  # some are made only when they are asked for
            yield from groups(command.get_command(None, name), f"{words} {name}")


GROUPS = dict(groups(typer.main.get_command(app), "sano"))


def shown(words: str) -> str:
    command = GROUPS[words]
    context = command.make_context(words, [], resilient_parsing=True, terminal_width=COLUMNS)
    return str(command.get_help(context))


@pytest.mark.parametrize("words", GROUPS)
def test_the_short_help_of_each_command_and_group_fits_its_column(words: str) -> None:
    head, _, commands = shown(words).partition("Commands:\n")
    assert "..." not in commands
    assert "--install-completion" not in head, "which belongs to no group of commands"
    listed = [line.split()[0] for line in commands.splitlines()]
    assert listed == GROUPS[words].list_commands(None), "each in a line of its own"
