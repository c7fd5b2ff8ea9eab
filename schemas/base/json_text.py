"""Parses untrusted JSON: a file, or the payload of a signed envelope."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 64
"""Levels of lists and objects. Ours have a dozen; a recursive walk has stack for many more."""


def parse_json(text: str | bytes) -> Any:
    """Parse JSON. Raises :class:`ValueError` for invalid JSON, and for JSON nested too deep to walk."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    level, depth = _containers([value]), 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deep")
        level = [inner for outer in level for inner in _containers(outer)]
    return value


def _containers(value: list[Any] | dict[str, Any]) -> list[list[Any] | dict[str, Any]]:
    """The lists and objects right inside a list or an object."""
    inside = value.values() if isinstance(value, dict) else value
    return [inner for inner in inside if isinstance(inner, list | dict)]
