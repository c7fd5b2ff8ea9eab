"""Defines the port of embedding: what indexing, search and ``/v1/embeddings`` ask of an embedder.

Vectors have length 1, so that their dot product is the cosine. Neither errors nor logs hold any of the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tenancy.errors import Refused, Transient

Vectors = NDArray[np.float32]
"""One row for each text."""
TextKind = Literal["query", "passage", "plain"]
"""A query searches, a passage is found, and ``plain`` is a text that an application calls neither. Many models read a
prompt of its own before each kind."""


@dataclass(frozen=True)
class Embedded:
    """The vectors of some texts, in their order, and how many tokens those had together."""

    vectors: Vectors
    tokens: int


class Embedder(Protocol):
    """``name`` says which vectors can be compared: those of one name, and no others. Another prompt before passages is
    another name."""

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embedded:
        """The texts' vectors. An empty sequence has none. The embedder's prompt for the ``kind`` counts as tokens of
        each text.

        Raises :class:`TextTooLong`, :class:`EmbedderUnavailable`, and :class:`Refused` for what the embedder will never
        take.
        """
        ...


class TextTooLong(Refused):
    """A text has more tokens than the embedder reads. Cut off in silence, its end would be found by no search.

    ``position`` says which of the texts; ``longest`` how many tokens the embedder reads, None where it does not say.
    """

    def __init__(self, position: int | None, longest: int | None) -> None:
        bound = "than it reads" if longest is None else f"than the {longest} tokens that it reads"
        super().__init__("text-too-long", f"refused: a text is longer for the embedder {bound}; send it in parts")
        self.position = position
        self.longest = longest


class EmbedderUnavailable(Transient):
    """The embedder did not answer, or asked to be left alone for a while."""


def unit_length(vectors: Vectors) -> Vectors:
    """The vectors divided by their lengths; one that is zero stays so."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit
