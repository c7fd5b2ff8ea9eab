"""Defines what a source yields: candidates for training, as raw as the hospital's systems hold them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from schemas.bus.content import ChatMessage
from schemas.bus.events import SourceKind


@dataclass(frozen=True)
class Candidate:
    """A conversation before redaction. It exists in the memory of the process that proposes it, and nowhere else.

    ``natural_key`` names the occurrence in the source's own words, such as a message's control id and facility. It may
    hold anything: the example's id is made of it under the source's key. The same occurrence always has the same key.
    """

    messages: tuple[ChatMessage, ...] = field(repr=False)
    natural_key: str = field(repr=False)
    version: int = 1
    example_id: str | None = None
    author_id: str | None = None
    consent_id: str | None = None
    provenance_ids: tuple[str, ...] = ()


class Source(Protocol):
    """Where candidates come from. ``candidates`` may raise :class:`~tenancy.errors.Refused`, quoting nothing."""

    @property
    def kind(self) -> SourceKind: ...

    def candidates(self) -> Iterable[Candidate]: ...
