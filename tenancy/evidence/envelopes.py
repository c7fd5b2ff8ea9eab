"""Opens statements: in-toto in DSSE envelopes, by securesystemslib."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError

from schemas.base.json_text import parse_json
from schemas.evidence.statements import PAYLOAD_TYPE, STATEMENT_TYPE
from tenancy.errors import BadSignature
from tenancy.evidence.keys import PublicKey


def opened(envelope: dict[str, Any], predicate_type: str, key: PublicKey) -> dict[str, Any]:
    """The statement inside, once this key's signature, type and predicate type are right. Raises BadSignature."""
    try:
        copied: dict[str, Any] = json.loads(json.dumps(envelope))  # securesystemslib pops from the dict it parses
        parsed = Envelope.from_dict(copied)
        if parsed.payload_type != PAYLOAD_TYPE:
            raise BadSignature("the envelope does not hold an in-toto statement")
        if parsed.to_dict() != envelope or any(set(one) != {"keyid", "sig"} for one in envelope["signatures"]):
            # Base64 has several spellings of the same bytes: another spelling would be a changed byte that passes.
            raise BadSignature("the envelope holds more than what is signed, or spells it in another way")
        parsed.verify([key.sslib], threshold=1)
        statement = parse_json(parsed.payload)
    except (VerificationError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadSignature(f"the signature does not verify ({type(error).__name__})") from None
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE:
        raise BadSignature("the envelope does not hold an in-toto statement v1")
    if statement.get("predicateType") != predicate_type:
        raise BadSignature("the statement is of another kind than was asked for")
    return statement


def unverified(envelope: Any) -> dict[str, Any]:
    """What an envelope says, whoever signed it. Raises :class:`ValueError` for what is no envelope of a statement."""
    try:
        statement = parse_json(base64.b64decode(envelope["payload"], validate=True))
    except (KeyError, TypeError, ValueError):
        raise ValueError("no envelope") from None
    if not isinstance(statement, dict):
        raise ValueError("no statement")
    return statement


def claimed_statement(envelope: Any) -> dict[str, Any]:
    """As :func:`unverified`, where the envelope is about to be verified. Raises :class:`BadSignature`."""
    try:
        return unverified(envelope)
    except ValueError as error:
        raise BadSignature(f"the envelope does not verify: it holds {error}") from None


def key_ids(envelope: dict[str, Any]) -> Iterator[str]:
    """Which keys an envelope says that it was signed by. Raises :class:`BadSignature`."""
    try:
        yield from (str(one["keyid"]) for one in envelope["signatures"])
    except (KeyError, TypeError):
        raise BadSignature("the envelope lacks its signatures") from None
