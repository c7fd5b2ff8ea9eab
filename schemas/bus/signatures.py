"""Defines what an event's signature covers: a detached JWS (RFC 7515, appendix F) in a header of the message.

It covers the topic, every CloudEvents attribute, the content type and the SHA-256 of the value; its protected header
also names the key and says when it signed. What is added to a message on its way is not covered: the trace, and the
headers of replays, dead letters and requeued copies. So a copy keeps the signature that the event was published with.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from schemas.bus.envelope import ORIGIN, REPLAY_ID

SIGNATURE = "sano_signature"
MEDIA_TYPE = "sano-event+jws"
"""The protected header's ``typ``, so that no other JWS that a key has made can stand for one of an event (RFC 8725)."""
SIGNATURE_PATTERN = r"^[A-Za-z0-9_-]+\.\.[A-Za-z0-9_-]+$"
MAX_SIGNATURE_CHARACTERS = 1024

_ADDED_ON_THE_WAY = frozenset({REPLAY_ID, *ORIGIN})
_ATTRIBUTE = re.compile(r"ce_[a-z0-9]+|content-type")
"""As CloudEvents 1.0 names its attributes, in Kafka's binary mode."""


class Unsignable(ValueError):
    """A message that no signature can cover, since its attributes can be read in more than one way."""


def signed_payload(topic: str, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> bytes:
    """The JWS payload of a message: canonical JSON (RFC 8785) of its topic, its attributes and its value's digest.

    Raises :class:`Unsignable` for a message with an attribute twice, or with one that CloudEvents does not allow.
    """
    attributes: dict[str, str] = {}
    for name, raw in headers:
        if not is_covered(name):
            continue
        if raw is None or name in attributes or _ATTRIBUTE.fullmatch(name) is None:
            raise Unsignable("an attribute is there twice, has no value, or has a name that no attribute has")
        try:
            attributes[name] = raw.decode()
        except UnicodeDecodeError:
            raise Unsignable("an attribute is not UTF-8") from None
    said = {"attributes": attributes, "topic": topic, "value_sha256": hashlib.sha256(value or b"").hexdigest()}
    # The bytes of canonical_json, in a tenth of its time: names are ASCII here, and all values are strings.
    return json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def is_covered(name: str) -> bool:
    """Whether a header is an attribute of the event, which nobody may change or add."""
    return (name.startswith("ce_") and name not in _ADDED_ON_THE_WAY) or name == "content-type"
