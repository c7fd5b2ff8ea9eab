"""Has a file of zeros at hand, which the next adapter is written over.

Memory that is new costs several times what is written into it, so it is taken while nobody waits. The file never held
anybody's weights, and has no name until it is given one: nothing of it is left when its process ends.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

PAUSE_SECONDS = 1.0
"""Before one is made. It takes a processor for tens of milliseconds, which the first tokens of the adapter that was
just loaded would wait for.
"""
_ZEROS = bytes(2**18)


@dataclass
class SpareFile:
    """Holds at most one file, in the memory-backed ``folder``. It holds none before the first fetch, without room, and
    on a file system without nameless files: a fetch creates its own file then.
    """

    folder: Path
    _made: list[BinaryIO] = field(default_factory=list)
    _making: asyncio.Task[None] | None = None

    def take(self, path: Path) -> bool:
        """Give it this name; False where there is none. May be called in any thread."""
        with suppress(IndexError), self._made.pop() as file:
            # With a descriptor for its folder the link is followed, to the file itself.
            os.link(f"/proc/self/fd/{file.fileno()}", path, src_dir_fd=file.fileno())
            return True
        return False

    def renew(self, size: int) -> None:
        """Make one of ``size`` bytes after :data:`PAUSE_SECONDS`, where there is none."""
        if not self._made and (self._making is None or self._making.done()):
            self._making = asyncio.create_task(self._make_later(size))

    async def _make_later(self, size: int) -> None:
        await asyncio.sleep(PAUSE_SECONDS)
        await asyncio.to_thread(self._make, size)

    def _make(self, size: int) -> None:
        with suppress(OSError):
            file = os.fdopen(os.open(self.folder, os.O_TMPFILE | os.O_WRONLY, 0o600), "wb", buffering=0)
            for start in range(0, size, len(_ZEROS)):
                file.write(_ZEROS[: size - start])
            self._made.append(file)
