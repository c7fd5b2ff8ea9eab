"""Defines the verdict of checking a signed document."""

from __future__ import annotations

from schemas.base.contract import Contract


class Verdict(Contract):
    """A document that holds. ``facts`` are its main statements, and which of its signatures are good; the other two are
    for people who rely on it.
    """

    kind: str
    facts: dict[str, str]
    proves: tuple[str, ...]
    does_not_prove: tuple[str, ...]


SIGNED = (
    "this document was signed with the private half of a trusted key, and not a byte of what it states has changed "
    "since"
)
TRUST = "that its statements are true: a signature shows only who made them, so they are worth as much as their signer"
COUNTERSIGNED = (
    "the holder of the verifier's key signed the same statement; whether that is somebody other than the signer "
    "depends on who holds the two keys"
)
