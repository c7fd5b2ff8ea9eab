"""Looks up the keys of the installation: by id and purpose, at a moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from pydantic import ValidationError

from schemas.base.canonical import sha256_hex
from schemas.base.contract import read_tolerant
from schemas.base.timestamps import moment
from schemas.evidence.purposes import Purpose
from schemas.evidence.statements import is_about, statement
from schemas.evidence.trust import DOCUMENTS, TRUST_PREDICATE, TrustedKey, TrustFile, trust_subject
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.envelopes import claimed_statement, key_ids, opened
from tenancy.evidence.keys import PublicKey, SigningKey
from tenancy.evidence.signer import signed_envelope
from tenancy.platform.clock import Clock, utc_now
from tenancy.platform.settings import CLOCK_SKEW_SECONDS

SKEW = timedelta(seconds=CLOCK_SKEW_SECONDS)


class Verifier(Protocol):
    """Checks signed documents: with the keys of the installation, or with one that the caller vouches for."""

    def verify(self, envelope: dict[str, Any], predicate_type: str) -> dict[str, Any]:
        """The statement inside, once its signature, type and predicate type are right. Raises BadSignature."""
        ...

    def verified(self, envelope: dict[str, Any], predicate_type: str) -> tuple[dict[str, Any], str]:
        """As :meth:`verify`, and the id of the key that signed."""
        ...

    @property
    def is_dated(self) -> bool:
        """Whether it knows until when each of its keys signed."""
        ...

    def has(self, key_id: str) -> bool:
        """Whether it is one of the keys that are trusted here, for whatever."""
        ...


@dataclass(frozen=True)
class Trust:
    """The keys of a trust file, which ``source`` may replace by a later one between two calls."""

    source: Callable[[str | None], TrustFile]
    """Called with the id of a key that the file it gave last does not have, or with None."""
    clock: Clock = utc_now
    is_dated: bool = field(default=True, init=False)
    _parsed: dict[str, PublicKey] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, *keys: TrustedKey, clock: Clock = utc_now) -> Trust:
        """Keys that nobody changes."""
        file = TrustFile(version=1, issued_at=clock(), keys=keys)
        return cls(lambda _: file, clock)

    @property
    def file(self) -> TrustFile:
        return self.source(None)

    def key(self, key_id: str, purpose: Purpose, signed_at: datetime | None = None) -> TrustedKey:
        """The key that is to verify what was signed for ``purpose`` at ``signed_at``.

        None for what is presented now and must be good now: then the key of a thief ends with the revocation, whatever
        time it writes. Raises :class:`BadSignature`.
        """
        found = self._find(key_id)
        if found is None:
            raise BadSignature("the signature is by no key of the trust file")
        if found.purpose is not purpose:
            raise BadSignature(f"the signature is by a key for {found.purpose}s, which signs no {purpose}s")
        if why := _ended(found, self.clock(), signed_at):
            raise BadSignature(why)
        return found

    def public_key(self, key_id: str, purpose: Purpose, signed_at: datetime | None = None) -> PublicKey:
        """As :meth:`key`: the key itself."""
        return self.parsed(self.key(key_id, purpose, signed_at))

    def parsed(self, key: TrustedKey) -> PublicKey:
        """The key of an entry that :meth:`key` gave. PEM is parsed once: every event and every request asks."""
        if key.key_id not in self._parsed:
            self._parsed[key.key_id] = PublicKey.parse(key.public_key.encode())
        return self._parsed[key.key_id]

    def verify(self, envelope: dict[str, Any], predicate_type: str) -> dict[str, Any]:
        return self.verified(envelope, predicate_type)[0]

    def verified(self, envelope: dict[str, Any], predicate_type: str) -> tuple[dict[str, Any], str]:
        """By the key of the document's purpose. When it was signed is what the document says itself."""
        kind = DOCUMENTS.get(predicate_type)
        if kind is None:
            raise BadSignature("no key signs documents of this kind")
        said = claimed_statement(envelope)
        signed_at = _moment(said.get("predicate"), kind.time)
        why = BadSignature("the document has no signature")
        for key_id in key_ids(envelope):
            try:
                return opened(envelope, predicate_type, self.public_key(key_id, kind.purpose, signed_at)), key_id
            except BadSignature as refusal:
                why = refusal
        raise why

    def has(self, key_id: str) -> bool:
        return self._find(key_id) is not None

    def _find(self, key_id: str) -> TrustedKey | None:
        for asked in (None, key_id):
            for key in self.source(asked).keys:
                if key.key_id == key_id:
                    return key
        return None


def _ended(key: TrustedKey, now: datetime, signed_at: datetime | None) -> str | None:
    """Why the key does not count for what was signed at ``signed_at``, None for now.

    A key that did not exist cannot have signed, so ``valid_from`` is asked of now, not of what is said of the past: a
    key may sign a step that its predecessor began.
    """
    at = now if signed_at is None else signed_at
    if now + SKEW < key.valid_from:
        return f"the signature is by a key that is valid from {key.valid_from.isoformat()} on"
    if key.revoked_at is not None and (signed_at is None or key.revoked_at <= at):
        return f"the signature is by a key that was revoked at {key.revoked_at.isoformat()}"
    if key.valid_until is not None and key.valid_until + SKEW < at:
        return f"the signature is by a key that was valid until {key.valid_until.isoformat()}"
    return None


def _moment(predicate: Any, name: str) -> datetime:
    try:
        return moment(predicate[name])
    except (KeyError, TypeError, ValueError):
        raise BadSignature("the document does not say when it was signed") from None


def signed_trust(file: TrustFile, root: SigningKey) -> dict[str, Any]:
    """The envelope of a trust file."""
    return signed_envelope(statement(TRUST_PREDICATE, _subject(file), file), root)


def opened_trust(envelope: dict[str, Any], root: PublicKey) -> TrustFile:
    """The trust file in an envelope that the root key signed, each key checked. Raises :class:`BadSignature`."""
    said = opened(envelope, TRUST_PREDICATE, root)
    try:
        file = read_tolerant(TrustFile, said["predicate"])
        for key in file.keys:
            public = PublicKey.parse(key.public_key.encode())
            if (public.key_id, public.algorithm) != (key.key_id, key.algorithm):
                raise BadSignature(f"the trust file's key {key.key_id} is not what the file says of it")
            if public.key_id == root.key_id:
                raise BadSignature("the trust file lists its own root key, which signs nothing else")
    except (ValidationError, KeyError, ValueError):
        raise BadSignature("the trust file is signed, but lacks what such a file must hold") from None
    if not is_about(said, _subject(file)):
        raise BadSignature("the trust file's subject is not its content")
    return file


def _subject(file: TrustFile) -> dict[str, str]:
    return trust_subject(sha256_hex(file.model_dump(mode="json")))


def trusted(public: PublicKey, purpose: Purpose, valid_from: datetime, **other: Any) -> TrustedKey:
    """The entry of a key in the trust file."""
    try:
        return TrustedKey(
            key_id=public.key_id,
            purpose=purpose,
            algorithm=public.algorithm,
            public_key=public.pem().decode(),
            valid_from=valid_from,
            **other,
        )
    except ValidationError:
        raise Refused("bad-key", f"refused: this cannot be said of a key for {purpose}s") from None
