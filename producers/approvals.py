"""A file of approvals: OpenAI chat format plus ``reviewer`` and ``consent``, one JSON object a line.

The whole file is read and judged before anything of it is used. What is wrong with a line is said by field and rule;
the line itself is never quoted.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from schemas.content import ChatMessage, ExampleContent
from schemas.identifiers import OpaqueId
from schemas.model import Contract
from tenancy.errors import Refused

NewSalt = Callable[[], str]


class ApprovalLine(Contract):
    """One line of the file. Unknown fields are refused: they would be dropped in silence."""

    messages: tuple[ChatMessage, ...]
    reviewer: OpaqueId
    consent: OpaqueId | None = None
    example_id: OpaqueId | None = Field(default=None, description="absent: derived from the messages")
    version: int = Field(default=1, ge=1)

    def content(self, salt: str) -> ExampleContent:
        """Raises :class:`pydantic.ValidationError` when the messages are not an example."""
        return ExampleContent(messages=self.messages, salt=salt)


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
    """Every line of the file, in its order; empty lines are passed over. Raises :class:`Refused`."""
    try:
        body = path.read_bytes()
    except OSError as error:
        raise Refused("unreadable-file", f"refused: {path} cannot be read ({error.strerror}); give a file") from None
    lines = [
        NumberedLine(path, number, _parse(path, number, raw))
        for number, raw in enumerate(body.split(b"\n"), start=1)
        if raw.strip()
    ]
    if not lines:
        raise Refused("empty-file", f"refused: {path} holds no approval; give one JSON object a line")
    return lines


def _parse(path: Path, number: int, raw: bytes) -> ApprovalLine:
    line = _read(path, number, raw)
    if not line.messages[-1].content.strip():
        raise line_refused(path, number, "no-answer", "the answer is blank, and no training could use it")
    return line


def _read(path: Path, number: int, raw: bytes) -> ApprovalLine:
    try:
        line = ApprovalLine.model_validate_json(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
        line.content(random_salt())
    except UnicodeDecodeError:
        raise line_refused(path, number, "bad-line", "the line is not UTF-8") from None
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise line_refused(path, number, "bad-line", _in_words(problem)) from None
    return line


_KNOWN_FIELDS = frozenset({*ApprovalLine.model_fields, *ChatMessage.model_fields})


def _in_words(problem: ErrorDetails) -> str:
    """Where and what, in words that say the rule. A key of the file's own making is not repeated."""
    where = ".".join(
        str(part) if isinstance(part, int) or part in _KNOWN_FIELDS else "a field" for part in problem["loc"]
    )
    if problem["type"] == "json_invalid" or (not where and problem["type"] == "model_type"):
        return "the line is not a JSON object"
    what = {
        "extra_forbidden": "is not known here; leave it out",
        "missing": "is missing",
    }.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    return f"{where}: {what}" if where else what
