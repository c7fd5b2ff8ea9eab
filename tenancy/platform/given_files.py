"""Reads and writes the files that whoever runs a program names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tenancy.errors import Refused


def read_given(path: Path, code: str = "unreadable-file", remedy: str = "; give a file") -> bytes:
    """What the file holds. Raises :class:`Refused` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(code, f"refused: {path} cannot be read ({error.strerror}){remedy}") from None


@contextmanager
def writing(path: Path, remedy: str = "") -> Iterator[None]:
    """Around the writing of a file. Raises :class:`Refused` where it cannot be written."""
    try:
        yield
    except OSError as error:
        raise Refused("unwritable-file", f"refused: {path} cannot be written ({error.strerror}){remedy}") from None
