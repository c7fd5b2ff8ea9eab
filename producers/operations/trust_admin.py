"""Makes signing keys, and keeps the trust file: rotates, registers and revokes. Holds the root key while it does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from schemas.base.contract import Contract
from schemas.bus.publishers import OPERATORS
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import (
    ROOT_FILE,
    ROOT_PUBLIC_FILE,
    SIGNS,
    TRUST_FILE,
    SpeaksFor,
    TrustedKey,
    TrustFile,
    key_file,
)
from tenancy.errors import Refused
from tenancy.evidence.keys import LocalKey, PublicKey, SigningKey
from tenancy.evidence.trust import signed_trust, trusted
from tenancy.evidence.trust_source import read_trust
from tenancy.platform.clock import Clock, utc_now
from tenancy.platform.given_files import writing

State = Literal["in use", "not yet", "being replaced", "replaced", "revoked"]

OVERLAP = timedelta(hours=24)
"""So long what a replaced key signs still counts: until every process has the new one."""
SOON = timedelta(days=30)


class KeyView(Contract):
    """A key of the trust file, and what may be done with it now."""

    key: TrustedKey
    state: State


@dataclass(frozen=True)
class TrustDesk:
    """The trust file at ``path``, and the root key that signs it."""

    path: Path
    root: SigningKey
    clock: Clock = utc_now

    def rotate(
        self, key: SigningKey, purpose: Purpose, publisher: str | None, overlap: timedelta = OVERLAP
    ) -> TrustedKey:
        """Put a key in the place of the one that signs now, which ends after ``overlap``; the new key's entry."""
        now = self.clock()
        speaks_for = SpeaksFor(publisher=publisher) if publisher else None
        made = trusted(key.public_key, purpose, now, speaks_for=speaks_for)
        self._change(lambda keys: (*(_ended(key, made, now + overlap) for key in keys), made))
        return made

    def register(self, key: PublicKey, speaks_for: SpeaksFor, overlap: timedelta = OVERLAP) -> TrustedKey:
        """Let a publisher from outside sign events with its key; an earlier key of it ends after ``overlap``.

        Raises :class:`Refused` for the name of a service of ours: its key is not to be had from outside.
        """
        if speaks_for.publisher in SIGNS:
            raise Refused("own-publisher", f"refused: {speaks_for.publisher} is ours; see `sano keys rotate event`")
        now = self.clock()
        made = trusted(key, Purpose.EVENT, now, speaks_for=speaks_for)
        self._change(lambda keys: (*(_ended(key, made, now + overlap) for key in keys), made))
        return made

    def revoke(self, key_id: str, at: datetime) -> TrustedKey:
        """Let a key count for nothing that was signed from ``at`` on. Raises :class:`Refused`.

        A revocation is taken back by nothing, and moved to an earlier time only.
        """
        found = [key for key in self.file().keys if key.key_id.startswith(key_id)]
        if len(found) != 1:
            raise Refused("no-such-key", f"refused: {len(found)} keys begin with {key_id}; see `sano keys list`")
        earliest = min([at, *([found[0].revoked_at] if found[0].revoked_at else [])])
        revoked = found[0].evolve(revoked_at=earliest)
        self._change(lambda keys: tuple(revoked if key.key_id == revoked.key_id else key for key in keys))
        return revoked

    def file(self) -> TrustFile:
        """What the file says now. Raises :class:`Refused`."""
        return read_trust(self.path, self.root.public_key)

    def _change(self, change: Callable[[tuple[TrustedKey, ...]], tuple[TrustedKey, ...]]) -> None:
        before = self.file()
        try:
            after = TrustFile(version=before.version + 1, issued_at=self.clock(), keys=change(before.keys))
        except ValidationError:
            raise Refused(
                "known-key", "refused: the trust file has this key already; one key has one purpose"
            ) from None
        write_trust(self.path, after, self.root)


def _ended(key: TrustedKey, by: TrustedKey, at: datetime) -> TrustedKey:
    """``key``, which ends at ``at`` if ``by`` takes its place."""
    of = (key.purpose, key.speaks_for and key.speaks_for.publisher)
    is_replaced = of == (by.purpose, by.speaks_for and by.speaks_for.publisher)
    if not is_replaced or (key.valid_until is not None and key.valid_until <= at):
        return key
    return key.evolve(valid_until=max(at, key.valid_from))


def views(file: TrustFile, now: datetime) -> list[KeyView]:
    """Every key, those in use first."""
    found = [KeyView(key=key, state=_state(key, now)) for key in file.keys]
    return sorted(found, key=lambda view: (view.state != "in use", view.key.purpose, view.key.valid_from))


def _state(key: TrustedKey, now: datetime) -> State:
    if key.revoked_at is not None:
        return "revoked"
    if now < key.valid_from:
        return "not yet"
    if key.valid_until is None:
        return "in use"
    return "being replaced" if now < key.valid_until else "replaced"


def unsound_keys(file: TrustFile, now: datetime) -> tuple[list[str], list[str]]:
    """For which purposes and publishers no key signs now, and for which none will after a month."""
    lacking, ending = [], []
    for name, purpose, publisher in _wanted():
        of = [key for key in file.keys if key.purpose is purpose and key.revoked_at is None and key.valid_from <= now]
        if publisher is not None:
            of = [key for key in of if key.speaks_for is not None and key.speaks_for.publisher == publisher]
        if not any(key.valid_until is None or now <= key.valid_until for key in of):
            lacking.append(f"no key for {name}s is valid")
        elif not any(key.valid_until is None or now + SOON <= key.valid_until for key in of):
            ending.append(f"no key for {name}s is valid for another {SOON.days} days")
    return lacking, ending


def _wanted() -> list[tuple[str, Purpose, str | None]]:
    """What there must be a key for: each purpose, and each publisher's events."""
    purposes = [(str(purpose), purpose, None) for purpose in Purpose if purpose is not Purpose.EVENT]
    return [*purposes, *((f"{who} event", Purpose.EVENT, who) for who in SIGNS)]


def ensure_keys(folder: Path, clock: Clock = utc_now) -> None:
    """Make the root key, a key for each purpose and publisher, and the trust file, in a folder. What is there stays."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    root = _ensured(folder / ROOT_FILE)
    (folder / ROOT_PUBLIC_FILE).write_bytes(root.public_key.pem())
    path = folder / TRUST_FILE
    keys = []
    for _, purpose, publisher in _wanted():
        file = key_file(folder, purpose, publisher or OPERATORS)
        speaks_for = SpeaksFor(publisher=publisher) if publisher else None
        keys.append(trusted(_ensured(file).public_key, purpose, clock(), speaks_for=speaks_for))
    known = read_trust(path, root.public_key) if path.exists() else None
    lacking = [key for key in keys if known is None or all(key.key_id != one.key_id for one in known.keys)]
    if known is None or lacking:
        held = known.keys if known else ()
        version = known.version + 1 if known else 1
        write_trust(path, TrustFile(version=version, issued_at=clock(), keys=(*held, *lacking)), root)


def _ensured(path: Path) -> LocalKey:
    if not path.exists():
        write_key(path, LocalKey.generate())
    return LocalKey.read(path, str(path))


def write_key(path: Path, key: LocalKey) -> None:
    """The private key, for its owner alone, and its public half beside it. Replaced at once."""
    write_whole(path, key.pem(), 0o600)
    write_whole(path.with_suffix(".pub.pem"), key.public_key.pem(), 0o644)


def write_trust(path: Path, file: TrustFile, root: SigningKey) -> None:
    """Sign the file and replace it at once."""
    write_whole(path, json.dumps(signed_trust(file, root), indent=1).encode() + b"\n", 0o644)


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """Written beside and renamed: nobody reads half of it. Raises :class:`Refused`."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            file.write(content)
        scratch.replace(path)
