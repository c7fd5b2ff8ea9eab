"""Declares the ports of the engine: what placement asks of it, and what answering does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypedDict, Unpack

from inference.engine.in_flight import EventStream
from inference.engine.loaded_adapters import Eviction, Verify
from inference.engine.stream_usage import Computed

UNBOUNDED = 1 << 30
"""Tokens of a prompt and its answer, where nobody asked for less than the engine takes."""

Response = dict[str, Any] | EventStream
"""An answer as JSON, or a stream of server-sent events."""


class Asking(TypedDict):
    """What the server says of a request; it takes the place of whatever the caller's body says."""

    owner: str
    adapter: str | None
    cache_salt: str
    request_id: str
    context_tokens: int
    priority: int
    usage: Computed


class Answering(Protocol):
    """What answers OpenAI's requests."""

    async def chat(self, body: Mapping[str, Any], **asking: Unpack[Asking]) -> Response: ...

    async def completion(self, body: Mapping[str, Any], **asking: Unpack[Asking]) -> Response: ...


class AdapterEngine(Protocol):
    """What placement asks of the engine."""

    def loaded(self) -> tuple[str, ...]: ...

    async def listed(self) -> tuple[str, ...]: ...

    def inflight(self, digest: str) -> int: ...

    async def load(self, digest: str, directory: Path, verify: Verify) -> None: ...

    async def evict(self, digest: str, *, scrub: bool) -> Eviction: ...

    async def abort_all(self, digest: str) -> int: ...

    def inflight_of(self, owner: str) -> int: ...

    async def abort_all_of(self, owner: str) -> int: ...

    async def reset_prefix_cache(self) -> bool: ...
