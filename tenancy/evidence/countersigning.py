"""Countersigns a certificate of purge, offline, by a verifier whose key the installation does not hold."""

from __future__ import annotations

from pathlib import Path

from schemas.base.canonical import canonical_json
from tenancy.errors import Refused
from tenancy.evidence.keys import SigningKey
from tenancy.evidence.purge_certificate import KIND
from tenancy.evidence.signer import countersigned_envelope
from tenancy.evidence.trust import Verifier
from tenancy.evidence.verification import checked, read_signed, require_another


def countersigned(path: Path, verifier: Verifier, second: SigningKey) -> bytes:
    """The certificate in ``path`` with a signature of ``second`` beside the signer's; again is no change.

    What does not hold, or is signed by the same key, is not signed: raises :class:`Refused` and :class:`BadSignature`.
    """
    require_another(second.public_key, verifier)
    envelope = read_signed(path)
    if checked(path, envelope, verifier).kind != KIND:
        raise Refused("no-certificate", f"refused: {path} is no {KIND}; give one")
    return canonical_json(countersigned_envelope(envelope, second))
