"""What checking a signed document comes to."""

from __future__ import annotations

from schemas.model import Contract


class Verdict(Contract):
    """A document that holds. ``facts`` are its main statements; the last two are for people who rely on it.

    ``signatures`` says of each signature in the document whether it is good, or that nobody looked.
    """

    kind: str
    signatures: tuple[str, ...] = ()
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
