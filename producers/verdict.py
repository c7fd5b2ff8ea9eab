"""What checking a signed document comes to."""

from __future__ import annotations

from schemas.model import Contract


class Verdict(Contract):
    """A document that holds. ``facts`` are its main statements, and which of its signatures are good; the other two are
    for people who rely on it.
    """

    kind: str
    facts: dict[str, str]
    proves: tuple[str, ...]
    does_not_prove: tuple[str, ...]


SIGNED = (
    "this document was signed with the private half of the given key, and not a byte of what it states has changed "
    "since"
)
TRUST = "that its statements are true: a signature says who stated them, so it is worth what its signer is"
COUNTERSIGNED = (
    "the holder of the verifier's key signed the same statement; that this is somebody else than the signer is what "
    "the custody of the two keys says"
)
