"""Puts what is fetched once into the cache: the folder appears by one rename."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deploy.local.errors import LocalStackError


def fetch_once(folder: Path, fetch: Callable[[Path], None]) -> Path:
    """Call ``fetch`` with a folder to fill, unless ``folder`` is there already.

    A second call waits for a fetch that is under way, and fetches itself only where that one failed. The kernel drops
    the lock with the process, so an interrupted fetch holds up nobody. Raises what ``fetch`` raises.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():  # not fetched while this call waited
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetched-") as scratch:
                fetched = Path(scratch) / "fetched"
                fetch(fetched)
                fetched.rename(folder)
    return folder


def run_fetch(
    command: Sequence[str], seconds: float, failed: Callable[[str], LocalStackError], **where: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program that fetches, without input. ``where``: its folder and environment, as ``subprocess`` names them.

    Raises what ``failed`` makes of the reason where it does not end in time. Its status is the caller's to look at.
    """
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            **where,
        )
    except subprocess.TimeoutExpired:
        raise failed(f"no answer within {seconds} s") from None
