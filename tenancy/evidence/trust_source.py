"""Reads the trust file and private keys again where their files changed, so that no rotation needs a restart."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from schemas.base.json_text import parse_json
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import TrustFile
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.keys import LocalKey, PublicKey, SigningKey
from tenancy.evidence.trust import Trust, opened_trust
from tenancy.platform.given_files import read_given
from tenancy.platform.logs import SCOPE, safe_message

logger = logging.getLogger(f"{SCOPE}.trust")

Stamp = tuple[int, int, int]
NOWHERE: Stamp = (0, 0, 0)


def read_trust(path: Path, root: PublicKey) -> TrustFile:
    """Raises :class:`Refused`, and :class:`BadSignature` for what the root key did not sign."""
    body = read_given(path, "no-trust-file", "; give the trust file by SANO_TRUST_FILE")
    try:
        envelope = parse_json(body)
    except ValueError:
        envelope = None
    if not isinstance(envelope, dict):
        raise Refused("no-trust-file", f"refused: {path} is no trust file; give one by SANO_TRUST_FILE")
    return opened_trust(envelope, root)


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return NOWHERE
    return found.st_mtime_ns, found.st_ino, found.st_size


@dataclass
class TrustSource:
    """Gives the trust file, looked at again every ``seconds`` and whenever a key is lacking.

    A file that is not the root key's, or older than the one that is held, changes nothing and is logged: whoever may
    write the file can neither add a key nor take a revocation back.
    """

    path: Path
    root: PublicKey
    seconds: float
    now: Callable[[], float] = time.monotonic
    _held: TrustFile = field(init=False)
    _stamp: Stamp = field(init=False)
    _looked: float = field(init=False)

    def __post_init__(self) -> None:
        self._stamp, self._looked = _stamp(self.path), self.now()
        self._held = read_trust(self.path, self.root)

    def __call__(self, lacking: str | None) -> TrustFile:
        if lacking is not None or self.now() - self._looked >= self.seconds:
            self._look()
        return self._held

    def _look(self) -> None:
        self._looked = self.now()
        stamp = _stamp(self.path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            found = read_trust(self.path, self.root)
        except Refused as refusal:
            logger.error("trust file refused", extra={"reason": safe_message(refusal)})
            return
        if found.version < self._held.version:
            logger.error("trust file refused", extra={"reason": "it is older than the one that is held"})
            return
        self._held = found


@dataclass
class KeyFileSource:
    """Gives the private key of a file, read again where the file changed.

    A new key is used once the trust file has it: until then nobody could verify what it signs, and the one before,
    which is still in memory, goes on.
    """

    path: Path
    purpose: Purpose
    trust: Trust
    given_by: str
    _held: LocalKey = field(init=False)
    _stamp: Stamp = field(init=False)
    _said: Stamp = field(init=False, default=NOWHERE)

    def __post_init__(self) -> None:
        self._stamp = _stamp(self.path)
        self._held = LocalKey.read(self.path, self.given_by)
        require_trusted(self._held, self.purpose, self.trust, self.given_by)

    def __call__(self) -> SigningKey:
        stamp = _stamp(self.path)
        if stamp != self._stamp:
            try:
                found = LocalKey.read(self.path, self.given_by)
                require_trusted(found, self.purpose, self.trust, self.given_by)
            except Refused as refusal:
                if stamp != self._said:
                    logger.warning("signing key not taken", extra={"reason": safe_message(refusal)})
                self._said = stamp
            else:
                self._held, self._stamp = found, stamp
        return self._held


def require_trusted(key: SigningKey, purpose: Purpose, trust: Trust, given_by: str) -> None:
    """Raises :class:`Refused` for a key that the trust file does not have for this purpose now."""
    try:
        trust.key(key.public_key.key_id, purpose)
    except BadSignature as error:
        why = str(error).removeprefix("refused: the signature is by ")
        raise Refused("untrusted-key", f"refused: what {given_by} gives is {why}; see `sano keys list`") from None
