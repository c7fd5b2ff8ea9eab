"""Defines what a source yields: candidates for training, as raw as the hospital's systems hold them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from schemas.bus.content import ChatMessage
from schemas.bus.events import ConsentGranted, ConsentRevoked, ExampleWithdrawn, SourceKind
from tenancy.errors import Refused


@dataclass(frozen=True)
class Candidate:
    """A conversation before redaction. It exists in the memory of the process that proposes it, and nowhere else.

    ``natural_key`` names the occurrence in the source's own words, such as a message's control id and facility. It may
    hold anything: the example's id is made of it under the source's key. The same occurrence always has the same key.
    ``place`` says where it stands in the input, for a refusal; it quotes nothing.
    """

    messages: tuple[ChatMessage, ...] = field(repr=False)
    natural_key: str = field(repr=False)
    version: int = 1
    example_id: str | None = None
    author_id: str | None = None
    consent_id: str | None = None
    provenance_ids: tuple[str, ...] = ()
    place: str = ""


Said = Candidate | ConsentGranted | ConsentRevoked | ExampleWithdrawn | Refused | None
"""What one part of an input says: a conversation, a decision that has no text, why it cannot be taken, or nothing."""


class Source(Protocol):
    """One input of a hospital's system: a file, the resources of a notification, a message, a tool's record.

    :func:`~producers.sources.proposed.propose` redacts, encrypts and publishes what any source says.
    """

    @property
    def kind(self) -> SourceKind: ...

    def said(self) -> Iterable[Said]:
        """Everything in it. May block. Raises what speaks of the input as a whole, quoting nothing."""
        ...


def placed(place: str, refusal: Refused) -> Refused:
    """The refusal with where it stands in the input."""
    return Refused(refusal.code, f"{place}: {refusal}") if place else refusal
