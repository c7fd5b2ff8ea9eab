"""Watches the event loop of a process from inside: how long nothing was run on it, and what it did meanwhile.

On a busy machine a loop also waits for a processor. So a stall is told by what the kernel says of the loop's thread:
:attr:`Gap.cpu` is the time that it ran, :attr:`Gap.queued` the time that it was ready to run and had no processor. The
rest of a gap it was blocked: by a lock, the interpreter's lock, or a file.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from pydantic import BaseModel, ConfigDict

BEAT_SECONDS = 0.05
NOTED_SECONDS = 0.25
"""Gaps from here on are noted, long or not: a list of none would not show that anything was watched."""
STALL_SECONDS = 0.5
BLOCKED_SECONDS = 2.0
"""Being blocked counts as a stall only from here on: the thread that holds the interpreter's lock may itself be without
a processor, and the kernel does not tell that of this thread."""


class Gap(BaseModel):
    """A time in which the loop ran nothing else. ``at`` is by the monotonic clock, which processes share."""

    model_config = ConfigDict(frozen=True)

    at: float
    wall: float
    cpu: float
    queued: float
    where: tuple[str, ...]

    @property
    def blocked(self) -> float:
        return max(self.wall - self.cpu - self.queued, 0.0)

    @property
    def is_stall(self) -> bool:
        return self.cpu >= STALL_SECONDS or self.blocked >= BLOCKED_SECONDS


class Watch:
    """Notes gaps of the main thread's loop in a file, one JSON object a line."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", encoding="utf-8", buffering=1)
        self._thread = threading.main_thread().ident or 0
        self._beat_at = time.monotonic()
        self._used = _thread_times()
        self._places: Counter[str] = Counter()

    def install(self) -> None:
        """Watch every loop that anyio runs in the main thread from now on, whoever makes it: asyncio's or uvloop's."""
        watch, run = self, anyio.run

        def watched(work: Callable[..., Awaitable[Any]], *given: Any, **named: Any) -> Any:
            async def begun() -> Any:
                if threading.get_ident() == watch._thread:
                    watch._begin(asyncio.get_running_loop())
                return await work(*given)

            return run(begun, **named)

        anyio.run = watched  # type: ignore[assignment]
        threading.Thread(target=self._look_on, name="loop watch", daemon=True).start()

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beat_at, self._used = time.monotonic(), _thread_times()
        loop.call_later(BEAT_SECONDS, self._beat, loop)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        now, used = time.monotonic(), _thread_times()
        wall = now - self._beat_at - BEAT_SECONDS
        if wall >= NOTED_SECONDS:
            where = tuple(place for place, _ in self._places.most_common(3))
            cpu, queued = used[0] - self._used[0], used[1] - self._used[1]
            gap = Gap(at=now, wall=wall, cpu=cpu, queued=queued, where=where)
            self._file.write(gap.model_dump_json() + "\n")
        self._places.clear()
        self._beat_at, self._used = now, used
        loop.call_later(BEAT_SECONDS, self._beat, loop)

    def _look_on(self) -> None:
        """From a thread of its own: where the loop is while its beat is late. Names of code only, never a value."""
        while True:
            time.sleep(BEAT_SECONDS * 2)
            if time.monotonic() - self._beat_at < NOTED_SECONDS:
                continue
            frame, names = sys._current_frames().get(self._thread), list[str]()
            while frame is not None and len(names) < 4:
                names.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}:{frame.f_lineno}")
                frame = frame.f_back
            self._places[" < ".join(names)] += 1


def gaps(file: Path, since: float) -> list[Gap]:
    """What was noted from a moment on, by the monotonic clock."""
    found = [Gap.model_validate(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    return [gap for gap in found if gap.at - gap.wall >= since]


def _thread_times() -> tuple[float, float]:
    """Seconds that the calling thread ran, and waited for a processor (``/proc/…/schedstat``)."""
    try:
        ran, queued, _ = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()
    except OSError:  # a kernel without scheduler statistics: then only what ran is known
        return time.thread_time(), 0.0
    return int(ran) / 1e9, int(queued) / 1e9
