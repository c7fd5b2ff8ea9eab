"""Makes a text safe to show to people, on a terminal or in a page."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without control characters, which could move the cursor or reorder what stands there."""
    return "".join(character if character == "\n" or character.isprintable() else "\ufffd" for character in text)
