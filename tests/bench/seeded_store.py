"""moto's server with objects in it before it serves: 200,000 writes by HTTP would take a quarter of an hour.

``python -m tests.bench.seeded_store --port N --seed FILE``; the file is written by :func:`write_seed`.
"""

from __future__ import annotations

import argparse
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

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


def list_page(
    self: Any,
    bucket_name: str,
    delimiter: str | None = None,
    key_marker: str | None = None,
    max_keys: int | None = 1000,
    prefix: str = "",
    version_id_marker: str | None = None,
) -> tuple[list[Any], list[str], list[Any], str | None, str | None]:
    """A page of versions by name and age, as S3 gives it, in place of moto's own ``list_object_versions``.

    moto copies every version in the bucket for each page, which would take longer than all that is measured, and gives
    nothing more once the version that a page ended with is deleted; S3 goes on with what follows.
    """
    from moto.s3.models import FakeKey

    if delimiter is not None:
        raise NotImplementedError("nobody here lists by delimiter")
    keys = self.get_bucket(bucket_name).keys
    names = sorted(name for name in keys if name.startswith(prefix))
    page: list[Any] = []
    for name in names[bisect_left(names, key_marker or "") :]:
        versions = list(reversed(keys.getlist(name)))
        for version in versions:
            version.is_latest = version is versions[0]
        if name == key_marker:
            seen = [at for at, version in enumerate(versions) if version.version_id == version_id_marker]
            versions = versions[seen[0] + 1 :] if seen else versions if version_id_marker else []
        page += versions
        if len(page) > (max_keys or 1000):
            break
    more, page = page[max_keys or 1000 :], page[: max_keys or 1000]
    found = [version for version in page if isinstance(version, FakeKey)]
    markers = [version for version in page if not isinstance(version, FakeKey)]
    return found, [], markers, *((page[-1].name, page[-1].version_id) if more else (None, None))


def main() -> None:
    parser = argparse.ArgumentParser(description="S3 in memory, with objects in it")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=Path, required=True)
    arguments = parser.parse_args()
    from moto.s3.models import S3Backend

    S3Backend.list_object_versions = list_page
    load(arguments.seed)
    serve(arguments.port)


if __name__ == "__main__":
    main()
