"""Reads files of conversations in OpenAI chat format, one JSON object a line: approvals, or raw ones.

The whole file is validated before any of it is used. Errors name a line's field and the rule, and never quote the
line.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from schemas.base.contract import Contract
from schemas.base.identifiers import OPAQUE_ID_IN_WORDS, OpaqueId
from schemas.base.integers import GREATEST, Version
from schemas.bus.content import ChatMessage, ExampleContent
from tenancy.errors import Refused
from tenancy.platform.given_files import read_handed_over


class ApprovalLine(Contract):
    """One line of the file. Unknown fields are refused: they would be dropped in silence."""

    messages: tuple[ChatMessage, ...]
    reviewer: OpaqueId
    consent: OpaqueId | None = None
    example_id: OpaqueId | None = Field(default=None, description="absent: derived from the messages")
    version: Version = 1

    def content(self, salt: str) -> ExampleContent:
        """Raises :class:`pydantic.ValidationError` when the messages are not an example."""
        return ExampleContent(messages=self.messages, salt=salt)


class RawLine(Contract):
    """One line of a file that nobody redacted or reviewed yet."""

    messages: tuple[ChatMessage, ...]
    author: OpaqueId | None = None
    consent: OpaqueId | None = None
    example_id: OpaqueId | None = Field(default=None, description="absent: derived from the messages")
    version: Version = 1

    def content(self, salt: str) -> ExampleContent:
        """Raises :class:`pydantic.ValidationError` when the messages are not an example."""
        return ExampleContent(messages=self.messages, salt=salt)


LineT = TypeVar("LineT", ApprovalLine, RawLine)


@dataclass(frozen=True)
class NumberedLine:
    """A line and where it stands, for messages about it."""

    path: Path
    number: int
    approval: ApprovalLine

    def refusal(self, code: str, why: str) -> Refused:
        """An error that names this line."""
        return line_refused(self.path, self.number, code, why)


def line_refused(path: Path, number: int, code: str, why: str) -> Refused:
    return Refused(code, f"{path}:{number}: refused: {why}")


def random_salt() -> str:
    """32 random bytes in hex: the key of one example's commitment."""
    return secrets.token_hex(32)


def read_approvals(path: Path) -> list[NumberedLine]:
    """Every approval of the file, in its order. Raises :class:`Refused`."""
    return [NumberedLine(path, number, line) for number, line in read_lines(path, ApprovalLine)]


def read_lines(path: Path, model: type[LineT]) -> list[tuple[int, LineT]]:
    """Every line of the file with its number, in its order; empty lines are passed over. Raises :class:`Refused`."""
    body = read_handed_over(path)
    lines = [
        (number, _parse(path, number, raw, model))
        for number, raw in enumerate(body.split(b"\n"), start=1)
        if raw.strip()
    ]
    if not lines:
        raise Refused("empty-file", f"refused: {path} holds no line; give one JSON object a line")
    return lines


def _parse(path: Path, number: int, raw: bytes, model: type[LineT]) -> LineT:
    line = _read(path, number, raw, model)
    if not line.messages[-1].content.strip():
        raise line_refused(path, number, "no-answer", "the answer is blank, and no training could use it")
    return line


def _read(path: Path, number: int, raw: bytes, model: type[LineT]) -> LineT:
    try:
        line = model.model_validate_json(raw.decode("utf-8-sig" if number == 1 else "utf-8"), strict=True)
        line.content(random_salt())
    except UnicodeDecodeError:
        raise line_refused(path, number, "bad-line", "the line is not UTF-8; save the file in that encoding") from None
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise line_refused(path, number, "bad-line", _in_words(problem, model)) from None
    return line


_ID = f"must be text that is an opaque id: {OPAQUE_ID_IN_WORDS}"
_RULES = {
    "messages": "must be a list of 2 to 64 messages",
    "role": "must be system, user or assistant",
    "content": "must be text of 1 to 32768 characters",
    "reviewer": _ID,
    "author": f"{_ID}; leave it out where nobody is to be kept from reviewing it",
    "consent": f"{_ID}; leave it out where there is none",
    "example_id": f"{_ID}; leave it out to have one made",
    "version": f"must be a whole number from 1 to {GREATEST}",
}
"""The whole rule of each field: whatever is wrong with a value, this says what is right. In the order of the fields."""

_ONE_OBJECT = "write one JSON object on each line"
_INVALID_JSON = re.compile(r"Invalid JSON: (?P<why>.+) at line \d+ column (?P<byte>\d+)")


def _in_words(problem: ErrorDetails, model: type[Contract]) -> str:
    """Where and what, in words that say the rule. A key of the file's own making is not repeated."""
    where, kind = problem["loc"], problem["type"]
    if kind == "json_invalid":
        return _not_json(problem["msg"])
    if kind == "extra_forbidden":
        known = ChatMessage.model_fields if len(where) > 1 else model.model_fields
        return f"{_path(where[:-1])} holds a field that is not one of {', '.join(known)}; leave it out"
    if kind == "missing":
        return f"{_path(where)} is missing; it {_RULES[str(where[-1])]}"
    if where and where[-1] in _RULES:
        return f"{_path(where)} {_RULES[str(where[-1])]}"
    if kind == "model_type":
        return f"{_path(where)} must be a JSON object" + ("" if where else f"; {_ONE_OBJECT}")
    return problem["msg"].removeprefix("Value error, ")


def _path(where: tuple[int | str, ...]) -> str:
    """As in ``messages[0].role``, counted from 0 as jq does."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".") or "the line"


def _not_json(said: str) -> str:
    """The parser's words are of a closed vocabulary; they quote nothing."""
    found = _INVALID_JSON.fullmatch(said)
    if found is None:
        return f"the line is not JSON; {_ONE_OBJECT}"
    why = found["why"].replace("EOF while parsing", "it ends inside")
    if "surrogate" in why or "hex escape" in why:
        why = r"a \u escape is cut off or is half a character, a lone surrogate; write the character itself"
    return f"the line is not JSON at byte {found['byte']}: {why}; {_ONE_OBJECT}"
