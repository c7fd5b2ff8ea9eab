"""Tells conversations apart: by the caller's header, or by how they begin."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def conversation(header: str | None, body: Mapping[str, Any]) -> bytes:
    """The same for all requests of one conversation. Without a header, a hash of the messages up to the first one of
    the user: what comes before it is often the same for all. A prompt without messages is a conversation of its own.
    """
    if header is not None:
        return header.encode()
    messages = body.get("messages")
    begin: Any = body.get("prompt")
    if isinstance(messages, list):
        roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
        begin = messages[: roles.index("user") + 1] if "user" in roles else messages[:1]
    return hashlib.sha256(json.dumps(begin, sort_keys=True).encode()).digest()
