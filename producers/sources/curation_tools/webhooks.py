"""Checks who sends a webhook, and takes from it which record changed: an id, and nothing else of it.

Argilla signs by the Standard Webhooks specification (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and
body. Label Studio signs nothing; it sends headers that are set with the webhook, so a secret is one of them.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from schemas.base.json_text import parse_json
from tenancy.errors import Refused

ToolName = Literal["label-studio", "argilla"]

TOLERANCE_SECONDS = 300.0
"""A signed message that is older, or of the future, is refused: somebody may send it again."""


@dataclass(frozen=True)
class Sender:
    """Which tool sends, and the secret of 32 bytes that it shares with this service."""

    tool: ToolName
    secret: bytes = field(repr=False)

    def require_signed(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Raises :class:`Refused` for what is not from the tool."""
        check = _has_secret if self.tool == "label-studio" else _is_signed
        if not check(self.secret, headers, body, now):
            raise Refused("bad-signature", "refused: the webhook is not signed with the secret of this service")

    def changed(self, body: bytes) -> list[str]:
        """The ids of the records that a webhook names; none where it names none. Raises :class:`Refused`."""
        try:
            message = parse_json(body)
        except ValueError:
            raise _bad() from None
        if not isinstance(message, dict):
            raise _bad()
        return _tasks(message) if self.tool == "label-studio" else _records(message)


def _has_secret(secret: bytes, headers: Mapping[str, str], _: bytes, __: datetime) -> bool:
    scheme, _space, given = headers.get("authorization", "").partition(" ")
    wanted = base64.b64encode(secret).decode()
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), wanted.encode())


def _is_signed(secret: bytes, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    message_id, time = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (time.isascii() and time.isdigit() and len(time) < 16):
        return False
    if abs(now.timestamp() - int(time)) > TOLERANCE_SECONDS:
        return False
    made = hmac.new(secret, b".".join((message_id.encode(), time.encode(), body)), "sha256").digest()
    wanted = f"v1,{base64.b64encode(made).decode()}".encode()
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(one.encode(), wanted) for one in given)


def _tasks(message: dict[str, Any]) -> list[str]:
    """Of one task or several, or of annotations with their task. Without a payload there is an action alone."""
    task = message.get("task")
    tasks = task if isinstance(task, list) else [task]
    annotation = message.get("annotation")
    for one in annotation if isinstance(annotation, list) else [annotation]:
        if isinstance(one, dict):
            tasks.append({"id": one.get("task")})
    return _ids(tasks)


def _records(message: dict[str, Any]) -> list[str]:
    data = message.get("data")
    if not isinstance(data, dict):
        return []
    is_record = str(message.get("type", "")).startswith("record.")
    return _ids([data if is_record else data.get("record")])


def _ids(found: list[Any]) -> list[str]:
    ids = [one.get("id") for one in found if isinstance(one, dict)]
    return list(dict.fromkeys(str(one) for one in ids if isinstance(one, str | int) and len(str(one)) <= 64))


def _bad() -> Refused:
    return Refused("bad-webhook", "refused: the webhook is no JSON object")
