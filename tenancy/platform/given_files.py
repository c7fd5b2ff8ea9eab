"""Reads and writes the files that whoever runs a program names."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tenancy.errors import Refused


def read_given(path: Path, code: str = "unreadable-file", remedy: str = "; give a file") -> bytes:
    """What the file holds. Raises :class:`Refused` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(code, f"refused: {path} cannot be read ({error.strerror}){remedy}") from None


def open_handed_over(path: Path) -> BinaryIO:
    """A file that somebody else may have put there, at whose end reading ends: no pipe and no device. And no link: it
    could lead to whatever the program may read, another tenant's texts or a key. Raises :class:`Refused`.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb")
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise _unreadable(path, why) from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _unreadable(path, "it is no file")
    return file


def read_handed_over(path: Path) -> bytes:
    """What the file holds. Raises as :func:`open_handed_over`."""
    with open_handed_over(path) as file:
        return file.read()


def _unreadable(path: Path, why: str | None) -> Refused:
    return Refused("unreadable-file", f"refused: {path} cannot be read ({why}); give a file")


@contextmanager
def writing(path: Path, remedy: str = "") -> Iterator[None]:
    """Around the writing of a file. Raises :class:`Refused` where it cannot be written."""
    try:
        yield
    except OSError as error:
        raise Refused("unwritable-file", f"refused: {path} cannot be written ({error.strerror}){remedy}") from None
