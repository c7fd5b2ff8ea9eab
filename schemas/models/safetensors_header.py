"""Reads and checks the header of a safetensors file without loading any tensor library.

The format (github.com/huggingface/safetensors, "Format"): 8 bytes little-endian unsigned length N, N bytes of JSON
that map each tensor's name to dtype, shape and [begin, end) offsets into the data, then the data without holes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

MAX_HEADER_BYTES = 16 * 1024 * 1024
"""A 70B model with 80 layers needs under 1 MB for its adapter's header. The format itself allows 100 MB."""

ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


_FIELDS = {"dtype", "shape", "data_offsets"}
_INTEGERS = {int}  # and not what counts as one, such as True


class MalformedSafetensors(ValueError):
    """The bytes are not a safetensors file, or its header does not describe its data."""


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: dtype as the format spells it (``BF16``), shape, and [begin, end) in bytes from the file's start."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class SafetensorsHeader:
    """All tensors by name, and the free-form metadata."""

    tensors: dict[str, TensorEntry]
    metadata: dict[str, str]


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For ``json.loads(object_pairs_hook=…)``: raises ``ValueError`` when an object names a key twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice in one JSON object")
    return result


def parse_header(head: bytes | memoryview, file_size: int) -> SafetensorsHeader:
    """The header of a file of ``file_size`` bytes that starts with ``head`` (which must hold the whole header).

    Raises :class:`MalformedSafetensors` unless the tensors cover the data exactly, without a hole or an overlap.
    """
    start = data_start(head, file_size)
    try:
        raw = json.loads(bytes(head[8:start]).decode("utf-8"), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError):
        raise MalformedSafetensors("the header is not a JSON object with unique keys") from None
    if not isinstance(raw, dict):
        raise MalformedSafetensors("the header is not a JSON object")
    metadata = raw.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MalformedSafetensors("__metadata__ must map strings to strings")
    tensors = {name: _entry(value, start) for name, value in raw.items()}
    expected = start
    for entry in sorted(tensors.values(), key=lambda item: (item.begin, item.end)):
        if entry.begin != expected:
            raise MalformedSafetensors("tensors overlap or leave bytes between them")
        expected = entry.end
    if expected != file_size:
        raise MalformedSafetensors("the file is longer or shorter than its header says")
    return SafetensorsHeader(tensors, metadata)


def data_start(head: bytes | memoryview, file_size: int) -> int:
    """Where the header ends, by its first 8 bytes. Raises :class:`MalformedSafetensors`."""
    if len(head) < 8:
        raise MalformedSafetensors("shorter than the 8 bytes of the header's length")
    length = int.from_bytes(head[:8], "little")
    if length > MAX_HEADER_BYTES or 8 + length > file_size:
        raise MalformedSafetensors(f"a header of {length} bytes does not fit")
    return 8 + length


def read_header(path: Path) -> SafetensorsHeader:
    """:func:`parse_header` of a file, reading only its header. Raises also ``OSError``."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = file.read(8)
        return parse_header(length + file.read(data_start(length, size) - 8), size)


def _entry(value: Any, data_start: int) -> TensorEntry:
    if not isinstance(value, dict) or value.keys() != _FIELDS:
        raise MalformedSafetensors("a tensor needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise MalformedSafetensors("a tensor has an unknown dtype")
    if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2:
        raise MalformedSafetensors("shape and data_offsets must be lists of non-negative integers")
    begin, end = offsets
    if end - begin != prod(shape) * ITEM_BYTES[dtype]:
        raise MalformedSafetensors("a tensor's offsets do not fit its shape and dtype")
    return TensorEntry(dtype, tuple(shape), data_start + begin, data_start + end)


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and set(map(type, value)) <= _INTEGERS and min(value, default=0) >= 0
