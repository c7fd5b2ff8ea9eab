"""What every object store does: in memory, observed, and on a real S3 API."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tenancy.errors import ObjectNotFound, PreconditionFailed
from tenancy.storage.objects import ObjectStore, ObjectVersion, Range
from tests.contract.conftest import Backend

PART = 8 * 1024 * 1024
MIB = 1024 * 1024


async def listed(objects: ObjectStore, prefix: str) -> list[ObjectVersion]:
    return [version async for version in objects.versions(prefix)]


async def keys(objects: ObjectStore, prefix: str) -> list[str]:
    return [key async for key in objects.keys(prefix)]


async def test_what_was_written_is_read_back_with_the_etag_that_writing_gave(objects: ObjectStore) -> None:
    etag = await objects.put("a/x", b"one")
    stored = await objects.get("a/x")
    assert (stored.body, stored.etag) == (b"one", etag)
    assert await objects.exists("a/x")
    await objects.put("a/x", b"two")
    assert (await objects.get("a/x")).body == b"two"


async def test_a_missing_object_is_not_found(objects: ObjectStore) -> None:
    assert not await objects.exists("a/x")
    with pytest.raises(ObjectNotFound):
        await objects.get("a/x")
    with pytest.raises(ObjectNotFound):
        await objects.read_chunks("a/x", list)


# --- conditional writes


async def test_a_second_create_is_refused_and_changes_nothing(objects: ObjectStore) -> None:
    await objects.put("a/x", b"first", if_absent=True)
    with pytest.raises(PreconditionFailed):
        await objects.put("a/x", b"second", if_absent=True)
    assert (await objects.get("a/x")).body == b"first"
    assert len(await listed(objects, "a/x")) == 1


async def test_of_many_creates_at_once_exactly_one_wins(objects: ObjectStore) -> None:
    bodies = [f"writer {number}".encode() for number in range(12)]
    outcomes = await asyncio.gather(
        *[objects.put("a/x", body, if_absent=True) for body in bodies], return_exceptions=True
    )
    lost = [outcome for outcome in outcomes if isinstance(outcome, PreconditionFailed)]
    assert len(lost) == 11
    winner = next(n for n, outcome in enumerate(outcomes) if isinstance(outcome, str))
    assert (await objects.get("a/x")).body == bodies[winner]


async def test_a_swap_needs_the_etag_of_what_is_there(objects: ObjectStore) -> None:
    first = await objects.put("a/x", b"one")
    second = await objects.put("a/x", b"two", if_match=first)
    with pytest.raises(PreconditionFailed):
        await objects.put("a/x", b"late", if_match=first)
    assert (await objects.get("a/x")).etag == second


async def test_a_swap_of_an_object_that_is_missing_or_deleted_is_refused(objects: ObjectStore) -> None:
    with pytest.raises(PreconditionFailed):
        await objects.put("a/x", b"one", if_match='"0123456789abcdef0123456789abcdef"')
    etag = await objects.put("a/x", b"one")
    await objects.delete("a/x")
    with pytest.raises(PreconditionFailed):
        await objects.put("a/x", b"two", if_match=etag)
    assert not await objects.exists("a/x")


async def test_of_many_swaps_from_one_etag_exactly_one_wins(objects: ObjectStore) -> None:
    etag = await objects.put("a/x", b"base")
    outcomes = await asyncio.gather(
        *[objects.put("a/x", f"writer {n}".encode(), if_match=etag) for n in range(12)], return_exceptions=True
    )
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, PreconditionFailed) for outcome in outcomes) == 11


async def test_an_etag_comes_from_the_content_so_a_to_b_to_a_looks_unchanged(objects: ObjectStore) -> None:
    """The hazard that ``rev`` and ``nonce`` in state.json are there for. A fake without it would hide the defect."""
    first = await objects.put("a/x", b"A")
    await objects.put("a/x", b"B", if_match=first)
    assert await objects.put("a/x", b"A") == first
    await objects.put("a/x", b"stale writer", if_match=first)
    assert (await objects.get("a/x")).body == b"stale writer"


async def test_a_create_succeeds_over_a_delete_marker(objects: ObjectStore) -> None:
    """How purged data would come back, and why state.json is never deleted (DESIGN, invariant 5)."""
    await objects.put("a/x", b"one", if_absent=True)
    await objects.delete("a/x")
    await objects.put("a/x", b"two", if_absent=True)
    assert (await objects.get("a/x")).body == b"two"


# --- versions and delete markers


async def test_a_delete_hides_the_object_and_keeps_its_versions(objects: ObjectStore) -> None:
    await objects.put("a/x", b"one")
    await objects.put("a/x", b"two")
    await objects.delete("a/x")
    with pytest.raises(ObjectNotFound):
        await objects.get("a/x")
    assert await keys(objects, "a/") == []
    versions = await listed(objects, "a/")
    assert {(v.key, v.is_delete_marker, v.is_latest) for v in versions} == {
        ("a/x", False, False),
        ("a/x", True, True),
    }
    assert len(versions) == len({v.version_id for v in versions}) == 3


async def test_a_listing_gives_the_size_of_each_version_and_none_for_a_marker_or_an_open_upload(
    backend: Backend,
) -> None:
    objects = backend.store
    await objects.put("a/x", b"one")
    await objects.put("a/x", b"")
    await objects.put_chunks("a/y", iter([b"t" * PART, b"wo"]))
    await objects.delete("a/x")
    backend.begin_upload("a/z")
    sizes = [(version.key, version.is_delete_marker, version.size_bytes) for version in await listed(objects, "a/")]
    assert sorted(sizes) == [("a/x", False, 0), ("a/x", False, 3), ("a/x", True, 0), ("a/y", False, PART + 2)]


async def test_versions_markers_and_uploads_are_listed_in_the_order_of_their_keys(backend: Backend) -> None:
    objects = backend.store
    keys = [f"a/{letter}" for letter in "dbac"]
    for key in keys:
        await objects.put(key, b"one")
        await objects.delete(key)
        backend.begin_upload(key)
    await objects.put("a/b", b"two")
    assert [version.key for version in await listed(objects, "a/")] == sorted([*keys, *keys, "a/b"])
    assert [upload.key async for upload in objects.uploads("a/")] == sorted(keys)


async def test_deleting_versions_leaves_nothing_to_list(objects: ObjectStore) -> None:
    for body in (b"one", b"two"):
        await objects.put("a/x", body)
    await objects.put("a/y", b"other")
    await objects.delete("a/x")
    await objects.delete_versions(await listed(objects, "a/x"))
    assert [version.key for version in await listed(objects, "a/")] == ["a/y"]
    assert not await objects.exists("a/x")


async def test_without_its_delete_marker_an_object_is_back(objects: ObjectStore) -> None:
    await objects.put("a/x", b"one")
    await objects.delete("a/x")
    await objects.delete_versions([v for v in await listed(objects, "a/x") if v.is_delete_marker])
    assert (await objects.get("a/x")).body == b"one"


async def test_any_number_of_versions_is_deleted_and_those_already_gone_are_no_error(objects: ObjectStore) -> None:
    """More than the thousand that S3 takes in one request; a lease is renewed that often in three hours."""
    await objects.put("a/x", b"one")
    await objects.put("a/y", b"one")
    real = await listed(objects, "a/")
    gone = [ObjectVersion(f"a/{number}", real[0].version_id, False, False) for number in range(1200)]
    await objects.delete_versions([real[0], *gone, real[1]])
    assert await listed(objects, "a/") == []
    await objects.delete_versions(real)
    await objects.delete_versions([])


# --- listing


async def test_keys_are_listed_in_lexical_order_and_only_under_the_prefix(objects: ObjectStore) -> None:
    for key in ("tenants/t1/b", "tenants/t1/a", "tenants/t1/a/c", "tenants/t10/a", "tenants/t1-x/a", "registry/t1/a"):
        await objects.put(key, b"x")
    assert await keys(objects, "tenants/t1/") == ["tenants/t1/a", "tenants/t1/a/c", "tenants/t1/b"]


async def test_a_prefix_that_ends_in_a_slash_covers_no_look_alike(backend: Backend) -> None:
    objects = backend.store
    for key in ("tenants/t1/a", "tenants/t10/a"):
        await objects.put(key, b"x")
        await objects.delete(key)
        backend.begin_upload(key)
    assert {version.key for version in await listed(objects, "tenants/t1/")} == {"tenants/t1/a"}
    assert [upload.key async for upload in objects.uploads("tenants/t1/")] == ["tenants/t1/a"]
    assert {version.key for version in await listed(objects, "tenants/t1")} == {"tenants/t1/a", "tenants/t10/a"}


async def test_listings_go_on_over_pages(objects: ObjectStore) -> None:
    await asyncio.gather(*[objects.put(f"a/{number:04}", b"") for number in range(1050)])
    assert len(await keys(objects, "a/")) == 1050
    assert len(await listed(objects, "a/")) == 1050


async def test_deleting_while_listing_is_safe(objects: ObjectStore) -> None:
    for number in range(5):
        await objects.put(f"a/{number}", b"x")
    async for version in objects.versions("a/"):
        await objects.delete_versions(await listed(objects, "a/") if version.key == "a/0" else [version])
    assert await listed(objects, "a/") == []


# --- multipart and streaming


def pieces(size: int, step: int = 700_000) -> Iterator[bytes]:
    """``size`` bytes that are different everywhere, in uneven pieces."""
    block = hashlib.shake_128(b"sanolith").digest(MIB + 7)
    done = 0
    while done < size:
        piece = block[: min(step, size - done)]
        yield bytes([done % 251]) + piece[1:]
        done += len(piece)


async def open_uploads(objects: ObjectStore) -> list[str]:
    return [upload.key async for upload in objects.uploads("")]


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 5])
async def test_a_body_of_any_size_is_written_in_chunks_and_streamed_back(objects: ObjectStore, size: int) -> None:
    expected = b"".join(pieces(size))
    etag = await objects.put_chunks("a/x", pieces(size))
    stored = await objects.get("a/x")
    assert (stored.body == expected, stored.etag) == (True, etag)
    chunks = await objects.read_chunks("a/x", list)
    assert b"".join(chunks) == expected
    assert max(map(len, chunks), default=0) <= MIB, "a reader must never get the whole body at once"
    assert await open_uploads(objects) == []


@pytest.mark.parametrize("size", [5, PART + 5])
async def test_a_chunked_create_of_what_exists_is_refused_and_leaves_no_open_upload(
    objects: ObjectStore, size: int
) -> None:
    await objects.put("a/x", b"first")
    with pytest.raises(PreconditionFailed):
        await objects.put_chunks("a/x", pieces(size), if_absent=True)
    assert (await objects.get("a/x")).body == b"first"
    assert await open_uploads(objects) == []


async def test_a_chunked_create_that_loses_while_it_uploads_is_refused_at_completion(objects: ObjectStore) -> None:
    def slow() -> Iterator[bytes]:
        yield from pieces(2 * PART)
        with ThreadPoolExecutor(1) as elsewhere:  # by now a first part is up
            elsewhere.submit(asyncio.run, objects.put("a/x", b"faster")).result()
        yield b"end"

    with pytest.raises(PreconditionFailed):
        await objects.put_chunks("a/x", slow(), if_absent=True)
    assert (await objects.get("a/x")).body == b"faster"
    assert await open_uploads(objects) == []


@pytest.mark.parametrize("before_failure", [0, 10, 2 * PART + 10])
async def test_a_source_that_fails_leaves_no_object_and_no_open_upload(
    objects: ObjectStore, before_failure: int
) -> None:
    def failing() -> Iterator[bytes]:
        yield from pieces(before_failure)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await objects.put_chunks("a/x", failing())
    assert not await objects.exists("a/x")
    assert await open_uploads(objects) == []


async def test_an_error_of_the_reader_comes_through(objects: ObjectStore) -> None:
    await objects.put("a/x", b"one")

    def consume(chunks: Iterator[bytes]) -> None:
        raise ValueError(next(chunks).decode())

    with pytest.raises(ValueError, match="one"):
        await objects.read_chunks("a/x", consume)


async def test_open_uploads_are_listed_until_they_are_aborted(backend: Backend) -> None:
    first, second = backend.begin_upload("a/x"), backend.begin_upload("a/y")
    assert {upload.key async for upload in backend.store.uploads("a/")} == {"a/x", "a/y"}
    assert [key async for key in backend.store.keys("a/")] == []
    await backend.store.abort_upload(first)
    await backend.store.abort_upload(first)
    assert [upload async for upload in backend.store.uploads("a/")] == [second]


# --- parts of an object


async def test_a_range_fills_the_callers_memory_and_tells_how_large_the_object_is(objects: ObjectStore) -> None:
    body = bytes(range(256)) * 1024
    await objects.put("a/x", body)
    buffer = memoryview(bytearray(100_000))
    for start, length in ((0, 100_000), (70_000, 100_000), (200_000, len(body) - 200_000)):
        assert await objects.read_range("a/x", start, buffer) == Range(length, len(body))
        assert buffer[:length] == body[start : start + length]
    parts = {start: memoryview(bytearray(8192)) for start in range(0, len(body), 8192)}
    await asyncio.gather(*(objects.read_range("a/x", start, part) for start, part in parts.items()))
    assert b"".join(parts.values()) == body


async def test_a_range_of_a_missing_object_is_not_found(objects: ObjectStore) -> None:
    with pytest.raises(ObjectNotFound):
        await objects.read_range("a/x", 0, memoryview(bytearray(8)))
