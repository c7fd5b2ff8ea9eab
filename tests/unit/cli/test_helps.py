"""A list of commands says of each, in one line, what it does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.test_docs import commands

COLUMNS = 80


@pytest.mark.parametrize("words", commands())
def test_the_short_help_of_a_command_fits_its_column(words: str) -> None:
    command: Any = commands()[words]
    group = words.rpartition(" ")[0]
    siblings = [known.removeprefix(group).split()[0] for known in commands() if known.startswith(group)]
    limit = COLUMNS - 6 - max(map(len, siblings))
    assert not command.get_short_help_str(limit).endswith("...")
