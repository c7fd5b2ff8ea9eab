"""moto's server with objects in it before it serves: 200,000 writes by HTTP would take a quarter of an hour.

``python -m tests.bench.seeded_store --port N --seed FILE``; the file is written by :func:`write_seed`.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from deploy.local.embedded import REGION
from deploy.local.object_store import serve

_LENGTHS = struct.Struct(">HHI")  # of bucket, key and body
_MARKER = 2**32 - 1  # in place of a body's length

Seed = Iterable[tuple[str, str, bytes | None]]
"""Bucket, key and body of each object, the oldest version of a key first. Without a body: a delete marker."""


def write_seed(path: Path, objects: Seed) -> None:
    with path.open("ab") as file:
        for bucket, key, body in objects:
            file.write(_LENGTHS.pack(len(bucket), len(key), _MARKER if body is None else len(body)))
            file.write(bucket.encode() + key.encode() + (body or b""))


def _read_seed(file: BinaryIO) -> Iterator[tuple[str, str, bytes | None]]:
    while lengths := file.read(_LENGTHS.size):
        of_bucket, of_key, of_body = _LENGTHS.unpack(lengths)
        bucket, key = file.read(of_bucket).decode(), file.read(of_key).decode()
        yield bucket, key, None if of_body == _MARKER else file.read(of_body)


def load(path: Path) -> None:
    """Put the objects into moto's memory, in versioned buckets."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    made: set[str] = set()
    with path.open("rb") as file:
        for bucket, key, body in _read_seed(file):
            if bucket not in made:
                backend.create_bucket(bucket, REGION)
                backend.put_bucket_versioning(bucket, "Enabled")
                made.add(bucket)
            if body is None:
                backend.delete_object(bucket, key)
            else:
                backend.put_object(bucket, key, body)


def main() -> None:
    parser = argparse.ArgumentParser(description="S3 in memory, with objects in it")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=Path, required=True)
    arguments = parser.parse_args()
    load(arguments.seed)
    serve(arguments.port)


if __name__ == "__main__":
    main()
