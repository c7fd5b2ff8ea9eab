"""Provides scratch folders, which hold an adapter in clear: removed when their user ends, also by a crash.

A user that ends in good order removes its folder. One that is killed cannot, so it holds a lock on the folder, which
the kernel drops with the process; a folder that nobody holds is removed by the next look of a runner on this disk.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER = "scratch"


@contextmanager
def scratch_folder(work_dir: Path, name: str) -> Iterator[Path]:
    """A new folder under ``work_dir``, held until it is left and removed then. ``name`` is for people who look."""
    root = work_dir / FOLDER
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder, handle = _made(root, name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def sweep_scratch(work_dir: Path) -> int:
    """Remove the folders that no living process holds; how many there were."""
    removed = 0
    root = work_dir / FOLDER
    for folder in root.iterdir() if root.is_dir() else ():
        with suppress(FileNotFoundError, NotADirectoryError, BlockingIOError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
            finally:
                os.close(handle)
    return removed


def _made(root: Path, name: str) -> tuple[Path, int]:
    """A folder and the handle that holds it. A sweep may take it between the two steps: then another is made."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=root))
        with suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if folder.is_dir():
                return folder, handle
            os.close(handle)
