"""What the doctor finds a store to lack: nothing of those that we run on, and each hazard of a store that has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import pytest

from tenancy.errors import PreconditionFailed, Refused
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import ObjectStore, ObjectVersion
from tenancy.storage.probes import PROBES, probed


async def lacks(objects: ObjectStore) -> dict[str, str]:
    return {found.name: found.lack async for found in probed(objects, "p1") if found.lack is not None}


async def test_the_stores_that_we_run_on_lack_nothing_and_nothing_is_left_there(objects: ObjectStore) -> None:
    await objects.put("tenants/t1/examples/x", b"sealed")
    assert [(found.name, found.lack) async for found in probed(objects, "p1")] == [(p.name, None) for p in PROBES]
    assert [version.key async for version in objects.versions("")] == ["tenants/t1/examples/x"]
    assert [upload async for upload in objects.uploads("")] == []


class Unconditional(MemoryObjectStore):
    """It ignores conditions, as older servers do."""

    async def put(self, key: str, body: bytes, **_: object) -> str:
        return await super().put(key, body)

    async def put_chunks(self, key: str, chunks: Iterable[bytes], **_: object) -> str:
        return await super().put_chunks(key, chunks)


class RevivesDeleted(MemoryObjectStore):
    """A swap over a delete marker succeeds with the deleted version's ETag, as on versitygw 1.8.0."""

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        if if_match is not None and not await self.exists(key):
            return await super().put(key, body)
        return await super().put(key, body, if_absent=if_absent, if_match=if_match)


class BlockedByMarkers(MemoryObjectStore):
    """A creation over a delete marker is refused, as on versitygw 1.8.0."""

    async def put(self, key: str, body: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        if if_absent and [version async for version in self.versions(key)]:
            raise PreconditionFailed(key)
        return await super().put(key, body, if_absent=if_absent, if_match=if_match)


class Unversioned(MemoryObjectStore):
    """It has no versions to list."""

    async def versions(self, prefix: str) -> AsyncIterator[ObjectVersion]:
        raise Refused("object-store-refused", "refused: the object store answered 501 NotImplemented")
        yield


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        (
            Unconditional(),
            {
                "create if absent": "of 8 creations of one object at once (If-None-Match), 8 succeeded",
                "compare and swap": "of 8 swaps of one object from one ETag at once (If-Match), 8 succeeded",
                "no swap of what is gone": "an object that was never there is swapped (If-Match)",
                "multipart upload": "an upload in parts overwrites an object that is there",
            },
        ),
        (RevivesDeleted(), {"no swap of what is gone": "an object that was never there is swapped (If-Match)"}),
        (BlockedByMarkers(), {"create anew": "an object that was deleted cannot be created anew"}),
        (Unversioned(), {"versions": "it was not carried out (refused: the object store answered 501"}),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_each_lack_is_one_line_that_says_what_stands_on_it(store: ObjectStore, expected: dict[str, str]) -> None:
    found = await lacks(store)
    assert found.keys() == expected.keys()
    for name, line in found.items():
        assert line.startswith(expected[name])
        assert "\n" not in line
        [needed_for] = [probe.needed_for for probe in PROBES if probe.name == name]
        assert line.endswith(needed_for)
    assert [key async for key in store.keys("")] == []


async def test_a_look_that_is_broken_off_leaves_nothing(objects: ObjectStore) -> None:
    looking = probed(objects, "p1")
    await anext(looking)
    await looking.aclose()  # type: ignore[attr-defined]
    assert [version async for version in objects.versions("")] == []
