"""Lists versions page by page in moto, as S3 does."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from moto.s3.models import FakeKey, S3Backend

_Page = tuple[list[Any], list[str], list[Any], str | None, str | None]
_LIST_ALL: Callable[..., _Page] = S3Backend.list_object_versions


def list_page(
    self: Any,
    bucket_name: str,
    delimiter: str | None = None,
    key_marker: str | None = None,
    max_keys: int | None = 1000,
    prefix: str = "",
    version_id_marker: str | None = None,
) -> _Page:
    """A page of versions by name and age, as S3 gives it, in place of moto's own ``list_object_versions``.

    moto copies every version in the bucket for each page, which takes longer than all else that a test does, and gives
    nothing more once the version that a page ended with is deleted; S3 goes on with what follows.
    """
    if delimiter is not None:  # nobody here lists by one
        return _LIST_ALL(self, bucket_name, delimiter, key_marker, max_keys, prefix, version_id_marker)
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


def install() -> None:
    """Put :func:`list_page` in the place of moto's listing, in this process."""
    S3Backend.list_object_versions = list_page
