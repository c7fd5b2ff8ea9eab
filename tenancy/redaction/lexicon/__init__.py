"""Holds the gate's word lists; README.md says where they come from."""

from __future__ import annotations

import gzip
from importlib.resources import files


def lines(name: str) -> list[str]:
    """The lines of a list."""
    body = files(__name__).joinpath(name).read_bytes()
    return (gzip.decompress(body) if name.endswith(".gz") else body).decode().splitlines()


def word_set(name: str) -> frozenset[str]:
    """The words of a list; ``_`` in a word stands for a blank."""
    return frozenset(word.replace("_", " ") for line in lines(name) for word in line.split())
