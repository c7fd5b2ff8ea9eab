"""Signs events and verifies who published them: a detached JWS by an event key of the trust file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schemas.base.base64url import base64url, from_base64url
from schemas.base.canonical import canonical_json
from schemas.base.json_text import parse_json
from schemas.bus.envelope import Event, Header
from schemas.bus.publishers import PUBLISHES
from schemas.bus.signatures import (
    MAX_SIGNATURE_CHARACTERS,
    MEDIA_TYPE,
    SIGNATURE,
    SIGNATURE_PATTERN,
    Unsignable,
    signed_payload,
)
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import SpeaksFor, TrustedKey
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.jws import JOSE, from_jose, to_jose
from tenancy.evidence.keys import beside
from tenancy.evidence.signer import Signer
from tenancy.evidence.trust import SKEW, Trust
from tenancy.platform.clock import Clock, utc_now

WRONG_SIGNATURE = "wrong-signature"
"""It does not fit the event, or is none."""
UNKNOWN_SIGNER = "unknown-signer"
"""By a key that the trust file does not have: the file may be older than the key."""
SIGNER_NOT_VALID = "signer-not-valid"
"""By a key of another purpose, or one that had ended or was revoked."""
SIGNER_NOT_ALLOWED = "signer-not-allowed"
"""By a key that may not speak for this tenant, or not publish this type."""
UNSIGNED = "unsigned"
"""Without a signature, where one is asked for."""
NOT_BELIEVED = frozenset({WRONG_SIGNATURE, UNKNOWN_SIGNER, SIGNER_NOT_VALID, SIGNER_NOT_ALLOWED, UNSIGNED})

_FIELDS = {"alg": str, "iat": int, "kid": str, "typ": str}
_LATEST = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())

RawHeaders = Sequence[tuple[str, bytes | None]]


class NotBelieved(Refused):
    """An event whose signature is wrong. ``code`` is for the dead letter."""


@dataclass(frozen=True)
class EventSigner:
    """Signs events with the event key of this process."""

    signer: Signer
    clock: Clock = utc_now

    async def header(self, topic: str, value: bytes | None, headers: RawHeaders) -> Header:
        """The header to be added to a message. Raises :class:`Unsignable`.

        A remote key raises :class:`StoreUnavailable` and :class:`Refused`.
        """
        key = self.signer.key
        public, now = key.public_key, int(self.clock().timestamp())
        said = {"alg": JOSE[public.algorithm], "iat": now, "kid": public.key_id, "typ": MEDIA_TYPE}
        protected = base64url(canonical_json(said))
        payload = signed_payload(topic, value, headers)
        signature = await beside(key, lambda: key.sign(_signing_input(protected, payload)))
        return SIGNATURE, f"{protected}..{base64url(to_jose(signature, public.algorithm))}".encode()


@dataclass(frozen=True)
class EventVerifier:
    """Tells who published an event, by its signature."""

    trust: Trust
    clock: Clock = utc_now

    def publisher(
        self, event: Event, value: bytes | None, headers: RawHeaders, *, appended_at: datetime | None
    ) -> SpeaksFor | None:
        """Who signed the event; None where it is not signed. ``appended_at`` is the broker's time, None where only the
        publisher's is known. Raises :class:`NotBelieved`.

        A key that has ended still verifies what it signed before, by the time that it wrote. A key that was revoked
        verifies what was appended before: whoever took it can write any time, but not the broker's.
        """
        found = _signature_of(headers)
        if found is None:
            return None
        if not self.trust.has(found.key_id):
            raise NotBelieved(UNKNOWN_SIGNER, "refused: the event is signed by no key of the trust file")
        key = self._key(found, appended_at or self.clock())
        try:
            payload = signed_payload(event.topic, value, headers)
            public = self.trust.parsed(key)
            if JOSE[public.algorithm] != found.algorithm:
                raise _bad("the algorithm is not the key's")
            public.verify(from_jose(found.signature, public.algorithm), _signing_input(found.protected, payload))
        except (BadSignature, Unsignable, ValueError):
            raise _bad("the signature does not fit the event") from None
        if not may_publish(key.speaks_for, event):
            raise NotBelieved(SIGNER_NOT_ALLOWED, "refused: the key may not publish this type, or not for this tenant")
        return key.speaks_for

    def _key(self, found: _Signature, appended_at: datetime) -> TrustedKey:
        if found.signed_at > self.clock() + SKEW:
            raise _bad("the event is signed in the future")
        try:
            key = self.trust.key(found.key_id, Purpose.EVENT, found.signed_at)
        except BadSignature as error:
            raise NotBelieved(SIGNER_NOT_VALID, str(error)) from None
        if key.revoked_at is not None and key.revoked_at <= appended_at:
            raise NotBelieved(SIGNER_NOT_VALID, "refused: the event came after its key was revoked")
        return key


def may_publish(who: SpeaksFor | None, event: Event) -> bool:
    """Whether the event is one of those that its publisher may publish, about a tenant that it speaks for."""
    if who is None or (who.tenants is not None and event.subject not in who.tenants):
        return False
    types = who.event_types
    if types is None:
        types = tuple(model.type for model in PUBLISHES.get(who.publisher, ()))
    return event.type in types


@dataclass(frozen=True)
class _Signature:
    """As a message carries it; nothing of it is verified."""

    algorithm: str
    key_id: str
    signed_at: datetime
    protected: str
    signature: bytes


def _signature_of(headers: RawHeaders) -> _Signature | None:
    carried = [raw for name, raw in headers if name == SIGNATURE]
    if not carried:
        return None
    if len(carried) > 1:
        raise _bad("there are two signatures")
    raw = carried[0] or b""
    text = raw.decode("ascii", errors="replace") if len(raw) <= MAX_SIGNATURE_CHARACTERS else ""
    if re.fullmatch(SIGNATURE_PATTERN, text) is None:
        raise _bad("the header holds no detached JWS")
    protected, _, signature = text.partition("..")
    try:
        said = _said(parse_json(from_base64url(protected)))
        signed_at = datetime.fromtimestamp(said["iat"], UTC)
        return _Signature(said["alg"], said["kid"], signed_at, protected, from_base64url(signature))
    except ValueError:
        raise _bad("the header holds no detached JWS of an event") from None


def _said(said: Any) -> dict[str, Any]:
    """Exactly four fields: ``crit`` and ``b64``, for two, would change what the signature means (RFC 7797)."""
    if not isinstance(said, dict) or {name: type(value) for name, value in said.items()} != _FIELDS:
        raise ValueError("other fields")
    if said["typ"] != MEDIA_TYPE or not 0 <= said["iat"] <= _LATEST:
        raise ValueError("other values")
    return said


def _bad(why: str) -> NotBelieved:
    return NotBelieved(WRONG_SIGNATURE, f"refused: {why}")


def _signing_input(protected: str, payload: bytes) -> bytes:
    """RFC 7515, 5.1."""
    return f"{protected}.{base64url(payload)}".encode()
