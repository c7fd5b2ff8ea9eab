"""Shows the result as the tables of docs/knowledge.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULT = Path(__file__).with_name("result.json")
"""What the page's tables were made from."""
HEAD = "| model | documents | time | right | of those that change | a replaced fact | style | right passage named |"


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """One row for each cell, as counts."""
    lines = [HEAD, "|---|---|---|---|---|---|---|---|"]
    for cell in cells:
        asked, given = cell["asked"], cell["with_documents"]
        columns = (
            cell["model"],
            "with" if given else "without",
            cell["when"],
            f"{cell['right']} of {asked}",
            f"{cell['changing_right']} of {cell['changing']}",
            str(cell["replaced"]),
            str(cell["style"]),
            str(cell["cited"]) if given else "-",
        )
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def table_of_injections(cells: Sequence[Mapping[str, Any]]) -> str:
    """One row for each model and each way to put passages before a question, as counts."""
    lines = ["| model | passages | obeyed | right | right without an injection |", "|---|---|---|---|---|"]
    for cell in cells:
        obeyed, right = (f"{cell[name]} of {cell['asked']}" for name in ("obeyed", "right"))
        without = f"{cell['right_without']} of {cell['questions']}"
        lines.append(f"| {' | '.join((cell['model'], cell['placing'], obeyed, right, without))} |")
    return "\n".join(lines)
