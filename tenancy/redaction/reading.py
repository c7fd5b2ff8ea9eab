"""Brings a text into the one form that detectors read, and takes their spans back to the characters that were given.

Identifiers are typed or pasted with full-width digits, zero-width characters, letters of other scripts that look Latin,
a dozen kinds of dash, dots, and runs of blanks. Detectors see none of that.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

_LOOKALIKES: dict[int, str] = {
    ord(strange): latin
    for strange, latin in zip(
        "АВЕЅІЈКМНОРСТХУаеѕіјорсхуԁԛԝһΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
        "ABESIJKMHOPCTXYaesijopcxydqwhABEZHIKMNOPTYX",
        strict=True,
    )
}
_LOOKALIKES |= dict.fromkeys(map(ord, "‐‑‒–—―−﹘﹣－⁃"), "-")
_LOOKALIKES |= dict.fromkeys(map(ord, "‘’‚‛ʼ′`´"), "'")
_LOOKALIKES |= dict.fromkeys(map(ord, "“”„‟″"), '"')
_LOOKALIKES |= dict.fromkeys(map(ord, "∕⁄／"), "/")
_LOOKALIKES |= dict.fromkeys(map(ord, "·•‧∙"), ".")
_INVISIBLE = ("Cf", "Mn", "Me", "Cc")
_BLANKS = "\t\n\r\x0b\x0c\x85"


@dataclass(frozen=True)
class Reading:
    """``text`` as detectors read it; ``offsets[i]`` is where its character ``i`` stood, one more for the end."""

    text: str
    offsets: tuple[int, ...] | None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The given text's characters from which ``text[start:end]`` was read."""
        if self.offsets is None:
            return start, end
        return self.offsets[start], self.offsets[end - 1] + 1


def read(given: str) -> Reading:
    """Read ``given``. Plain ASCII is its own reading."""
    if given.isascii() and given.isprintable() and "  " not in given:
        return Reading(given, None)
    characters: list[str] = []
    offsets: list[int] = []
    for offset, character in enumerate(given):
        for plain in _plain(character):
            if plain == " " and characters[-1:] == [" "]:
                continue
            characters.append(plain)
            offsets.append(offset)
    return Reading("".join(characters), (*offsets, len(given)))


def _plain(character: str) -> str:
    if character in _BLANKS:
        return "\n" if character == "\n" else " "
    if character.isascii():
        return character if character.isprintable() else ""
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if unicodedata.category(character) in _INVISIBLE:
        return ""
    composed = unicodedata.normalize("NFKC", character.translate(_LOOKALIKES)).translate(_LOOKALIKES)
    shown = (part for part in composed if unicodedata.category(part) not in _INVISIBLE)
    return "".join(" " if part.isspace() else part for part in shown)
