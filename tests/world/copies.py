"""Goes on from one moment more than once: the process is copied (``fork``), and the copy lives on with another fate.

A copy is whole: every task, cache and lock is as it was, which no copying of objects could promise. No thread survives
in it, so the world runs in :func:`tests.world.at_once.at_once`. What lies in the working folder is copied too.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import time
import traceback
from pathlib import Path

LONGEST_SECONDS = 120
"""No copy lives longer. The original waits for it, and one copy lives at a time."""


class Copies:
    """Makes copies of this process, and keeps what each of them said at its end."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._to_original: int | None = None
        self._made = 0
        self._waited = 0.0

    @property
    def is_copy(self) -> bool:
        return self._to_original is not None

    def lives_on(self) -> bool:
        """True in the copy, at once. False in the original, once the copy has ended and its words are in ``said``."""
        self._made += 1
        began, loop, (reading, writing) = time.monotonic(), asyncio.get_running_loop(), os.pipe()
        copy = os.fork()
        if copy == 0:
            os.close(reading)
            self._begin(writing, loop)
            return True
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read().decode()
        _, status = os.waitpid(copy, 0)
        self.said.append(said if status == 0 else f"the copy ended with status {status}: {said}")
        self._leave_out(time.monotonic() - began, loop)
        return False

    def _leave_out(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        """For the original no time has passed: else, on a slow machine, its deadlines and leases would."""
        self._waited += seconds
        loop.time = lambda: time.monotonic() - self._waited  # type: ignore[method-assign]

    def _begin(self, writing: int, loop: asyncio.AbstractEventLoop) -> None:
        self._to_original = writing
        asyncio._set_running_loop(loop)  # asyncio takes it for the loop of another process
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LONGEST_SECONDS)
        gc.disable()  # it lives for a moment, and a collection would write to every page that it shares
        here = Path.cwd()
        shutil.copytree(here, own := here.parent / f"copy-{self._made}")
        os.chdir(own)

    def end(self, said: str) -> None:
        """Ends the copy with its words. Nothing in the original."""
        if self._to_original is not None:
            with os.fdopen(self._to_original, "wb") as pipe:
                pipe.write(said.encode())
            os._exit(0)

    def end_failed(self) -> None:
        """Ends the copy with the exception that is being handled. Nothing in the original."""
        self.end(traceback.format_exc())
