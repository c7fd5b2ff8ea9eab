"""Declares the port through which placement uses the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from inference.engine.loaded_adapters import Eviction

UNBOUNDED = 1 << 30
"""Tokens of a prompt and its answer, where nobody asked for less than the engine takes."""


class AdapterEngine(Protocol):
    """What placement asks of the engine."""

    def loaded(self) -> tuple[str, ...]: ...

    async def listed(self) -> tuple[str, ...]: ...

    def inflight(self, digest: str) -> int: ...

    async def load(self, digest: str, directory: Path) -> None: ...

    async def evict(self, digest: str, *, scrub: bool) -> Eviction: ...

    async def abort_all(self, digest: str) -> int: ...

    def inflight_of(self, owner: str) -> int: ...

    async def abort_all_of(self, owner: str) -> int: ...

    async def reset_prefix_cache(self) -> bool: ...
