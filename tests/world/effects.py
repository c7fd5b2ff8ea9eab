"""Every effect has a name, so that a test can kill a process right before or after any of them.

Effects happen only through two ports, the object store and the publisher. These wrappers name each write that passes
and tell an observer; the observer that production uses does nothing.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from schemas.bus.envelope import Event
from tenancy.bus import Publisher, RawMessage
from tenancy.errors import Refused
from tenancy.storage.objects import ObjectStore, ObjectVersion, Range, StoredObject, Upload

T = TypeVar("T")


class EffectObserver(Protocol):
    """Told before and after every effect: ``put:examples``, ``swap:state``, ``publish:sano.adapter.ready`` …"""

    def before(self, effect: str) -> None: ...

    def after(self, effect: str) -> None: ...


@dataclass
class KillAt:
    """Kills its own process with SIGKILL at the n-th occurrence of one effect. Only tests configure it."""

    effect: str
    when: str
    occurrence: int = 1
    seen: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> KillAt:
        """``before:put:examples`` or ``after:swap:state#2``. Raises :class:`Refused`."""
        match = re.fullmatch(r"(before|after):([^#]+)(?:#([1-9]\d*))?", text)
        if match is None:
            raise Refused("bad-crash-point", "refused: a crash point is before:EFFECT or after:EFFECT, maybe #N")
        return cls(match[2], match[1], int(match[3] or 1))

    def before(self, effect: str) -> None:
        self._kill_if_due("before", effect)

    def after(self, effect: str) -> None:
        self._kill_if_due("after", effect)

    def _kill_if_due(self, when: str, effect: str) -> None:
        if (when, effect) == (self.when, self.effect):
            self.seen[effect] = self.seen.get(effect, 0) + 1
            if self.seen[effect] == self.occurrence:
                os.kill(os.getpid(), signal.SIGKILL)


def object_effect(operation: str, key: str) -> str:
    """The name of a write to ``key``: its area, never an id."""
    parts = key.split("/")
    if parts[0] == "tenants" and len(parts) > 2:
        area = parts[2]
        return f"{operation}:{'lease' if area == 'runs' and parts[-1] == 'lease.json' else area}"
    if parts[0] == "registry":
        return "swap:state" if (operation, parts[-1]) == ("put", "state.json") else f"{operation}:{parts[-1]}"
    if parts[0] == "purges" and key.endswith(".certificate.json"):
        return f"{operation}:certificate"
    if parts[0] == "audit" and len(parts) > 2:
        return f"{operation}:audit-{parts[2].removesuffix('.json')}"
    return f"{operation}:{parts[0]}"


@dataclass(frozen=True)
class ObservedObjectStore:
    """An object store whose writes are observed."""

    inner: ObjectStore
    observer: EffectObserver

    async def get(self, key: str) -> StoredObject:
        return await self.inner.get(key)

    async def exists(self, key: str) -> bool:
        return await self.inner.exists(key)

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        effect = object_effect("put", key)
        self.observer.before(effect)
        etag = await self.inner.put(key, body, if_absent=if_absent, if_match=if_match)
        self.observer.after(effect)
        return etag

    async def put_chunks(self, key: str, chunks: Iterable[bytes], *, if_absent: bool = False) -> str:
        effect = object_effect("put", key)
        self.observer.before(effect)
        etag = await self.inner.put_chunks(key, chunks, if_absent=if_absent)
        self.observer.after(effect)
        return etag

    async def read_chunks(self, key: str, consume: Callable[[Iterator[bytes]], T]) -> T:
        return await self.inner.read_chunks(key, consume)

    async def read_range(self, key: str, start: int, into: memoryview) -> Range:
        return await self.inner.read_range(key, start, into)

    async def delete(self, key: str) -> None:
        effect = object_effect("delete", key)
        self.observer.before(effect)
        await self.inner.delete(key)
        self.observer.after(effect)

    def keys(self, prefix: str, *, after: str = "") -> AsyncIterator[str]:
        return self.inner.keys(prefix, after=after)

    def versions(self, prefix: str) -> AsyncIterator[ObjectVersion]:
        return self.inner.versions(prefix)

    async def delete_versions(self, versions: Sequence[ObjectVersion]) -> None:
        if not versions:
            return
        effect = object_effect("erase", versions[0].key)
        self.observer.before(effect)
        await self.inner.delete_versions(versions)
        self.observer.after(effect)

    def uploads(self, prefix: str) -> AsyncIterator[Upload]:
        return self.inner.uploads(prefix)

    async def abort_upload(self, upload: Upload) -> None:
        self.observer.before("abort:upload")
        await self.inner.abort_upload(upload)
        self.observer.after("abort:upload")


@dataclass(frozen=True)
class ObservedPublisher:
    """A publisher whose publications are observed."""

    inner: Publisher
    observer: EffectObserver

    async def publish(self, event: Event) -> None:
        self.observer.before(f"publish:{event.type}")
        await self.inner.publish(event)
        self.observer.after(f"publish:{event.type}")

    async def publish_raw(self, message: RawMessage) -> None:
        self.observer.before("publish:dead-letter")
        await self.inner.publish_raw(message)
        self.observer.after("publish:dead-letter")

    async def answers(self) -> bool:
        return await self.inner.answers()
