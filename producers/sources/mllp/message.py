"""Reads HL7 v2 messages: separators and character set as each message declares them, escape sequences undone.

Our own, since the library that exists (hl7 0.4.5) writes fields into its log where an escape sequence is wrong.
Source: HL7 v2.5.1 chapter 2 (2.5 message construction, 2.7 escape sequences, 2.10 continuation and batches).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MOST_SEGMENTS = 10_000

CHARACTER_SETS = {
    "": "utf-8",
    "ASCII": "ascii",
    "UNICODE UTF-8": "utf-8",
    "UNICODE": "utf-8",
    **{f"8859/{part}": f"iso-8859-{part}" for part in (*range(1, 10), 15)},
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
}
"""Of MSH-18, as HL7 table 0211 has them; those of Japan change their set within a text, and are not read.

What is not here, or is not what was sent, is refused: text that was read wrongly is redacted wrongly.
"""

_BATCH = ("FHS", "BHS", "BTS", "FTS")
_DEFAULTS = "^~\\&"
_HEX = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")


class Unreadable(Exception):
    """No message of HL7 v2. ``code`` is for the answer; it quotes nothing."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Message:
    """Segments of fields. A field is asked for by its number in the standard, from 1. One that is absent is empty."""

    segments: tuple[tuple[str, ...], ...] = field(repr=False)
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    separator: str = "|"
    encoding: str = "utf-8"

    def all(self, name: str) -> Iterator[tuple[str, ...]]:
        """Every segment of this name, in order."""
        return (segment for segment in self.segments if segment[0] == name)

    def first(self, name: str) -> tuple[str, ...]:
        return next(self.all(name), ())

    def text(self, segment: tuple[str, ...], number: int) -> str:
        """The whole field as text, repetitions as lines."""
        parts = self._raw(segment, number).split(self.repetition)
        return "\n".join(self.unescaped(part) for part in parts)

    def part(self, segment: tuple[str, ...], number: int, component: int = 1) -> str:
        """A component of the field's first repetition, without its subcomponents."""
        first = self._raw(segment, number).split(self.repetition)[0]
        components = first.split(self.component)
        if component > len(components):
            return ""
        return self.unescaped(components[component - 1].split(self.subcomponent)[0]).strip()

    def parts(self, segment: tuple[str, ...], number: int, *components: int) -> list[tuple[str, ...]]:
        """These components of each of the field's repetitions."""
        repetitions = self._raw(segment, number).split(self.repetition)
        alone = (tuple(("",) * number + (one,)) for one in repetitions)
        return [tuple(self.part(one, number, component) for component in components) for one in alone]

    def _raw(self, segment: tuple[str, ...], number: int) -> str:
        at = number - 1 if segment and segment[0] == "MSH" else number
        return segment[at] if 0 < at < len(segment) else ""

    def unescaped(self, text: str) -> str:
        """The text with its escape sequences undone. Formatting is a blank or a new line; what nobody declared goes."""
        pieces = text.split(self.escape)
        if len(pieces) % 2 == 0:  # the last one is never closed, and is text
            pieces[-2:] = [self.escape.join(pieces[-2:])]
        return "".join(self._undone(piece) if number % 2 else piece for number, piece in enumerate(pieces))

    def _undone(self, sequence: str) -> str:
        known = {
            "F": self.separator,
            "S": self.component,
            "R": self.repetition,
            "E": self.escape,
            "T": self.subcomponent,
        }
        if sequence in known:
            return known[sequence]
        if sequence.startswith("."):  # words that it keeps apart stay apart, or nobody would find a name in them
            return "\n" if sequence[1:3] in ("br", "sp", "ce") else " "
        digits = _HEX.fullmatch(sequence)
        return bytes.fromhex(digits[1]).decode(self.encoding, errors="replace") if digits else ""


def split_batch(payload: bytes) -> list[bytes]:
    """The messages of a frame: one, or those of a batch. Raises :class:`Unreadable`."""
    lines = [line for line in payload.replace(b"\r\n", b"\r").replace(b"\n", b"\r").split(b"\r") if line.strip()]
    messages: list[list[bytes]] = []
    for line in lines:
        if line.startswith(b"MSH"):
            messages.append([])
        elif line[:3].decode("ascii", errors="replace") in _BATCH:
            continue
        if not messages:
            raise Unreadable("not-hl7")
        messages[-1].append(line)
    if not messages:
        raise Unreadable("not-hl7")
    return [b"\r".join(message) for message in messages]


def read_message(payload: bytes) -> Message:
    """One message. Raises :class:`Unreadable`."""
    head = payload.partition(b"\r")[0]
    if not head.startswith(b"MSH") or len(head) < 8 or not _may_separate(separator := chr(head[3])):
        raise Unreadable("not-hl7")
    declared = head[4:].split(separator.encode(), 1)[0].decode("ascii", errors="replace")[:4]
    marks = declared + _DEFAULTS[len(declared) :]
    if not all(map(_may_separate, marks)) or len({separator, *marks}) != 5:
        raise Unreadable("bad-separators")
    fields = head.split(separator.encode())
    charset = (
        fields[17].decode("ascii", errors="replace").split(marks[1])[0].strip().upper() if len(fields) > 17 else ""
    )
    encoding = CHARACTER_SETS.get(charset)
    if encoding is None:
        raise Unreadable("unknown-character-set")
    try:
        text = payload.decode(encoding)
    except UnicodeDecodeError:
        raise Unreadable("not-in-its-character-set") from None
    lines = "\r".join(line for line in text.split("\r") if line.strip())
    # An ADD segment goes on with the last field of the segment before, and has the fields behind it.
    segments = tuple(tuple(line.split(separator)) for line in lines.replace(f"\rADD{separator}", "").split("\r"))
    if len(segments) > MOST_SEGMENTS:
        raise Unreadable("too-many-segments")
    if any(re.fullmatch(r"[A-Z][A-Z0-9]{2}", segment[0]) is None for segment in segments):
        raise Unreadable("bad-segment")
    return Message(segments, marks[0], marks[1], marks[2], marks[3], separator, encoding)


def _may_separate(mark: str) -> bool:
    return mark.isascii() and mark.isprintable() and not mark.isalnum() and mark != " "
