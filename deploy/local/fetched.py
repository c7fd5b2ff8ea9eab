"""Puts what is fetched once into the cache: the folder appears by one rename."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path


def fetch_once(folder: Path, fetch: Callable[[Path], None]) -> Path:
    """Call ``fetch`` with a folder to fill, unless ``folder`` is there already.

    Safe against another fetch at the same time and against being interrupted. Raises what ``fetch`` raises.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetched-") as scratch:
        fetched = Path(scratch) / "fetched"
        fetch(fetched)
        try:
            fetched.rename(folder)
        except OSError:
            if not folder.is_dir():  # not a fetch that was faster than ours
                raise
    return folder
