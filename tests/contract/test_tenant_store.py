"""A tenant's sealed objects, on every object store: nobody else's key is named, nothing opens elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.objects.curation import ConsentRecord
from schemas.objects.object_keys import ForbiddenKey, tenant_key
from schemas.objects.state import TenantState
from schemas.objects.training import LeaseRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, PreconditionFailed, SealBroken
from tenancy.storage import tenant_store as tenant_store
from tenancy.storage.objects import ObjectStore
from tenancy.storage.sealing import open_sealed, seal
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId
from tests.contract.conftest import TENANT

NEIGHBOUR = TenantId("t10")
TEXT = b"question and answer canary-8841"
MIB = 1024 * 1024


@pytest.fixture
def store(tenancy: Tenancy, onboarded: TenantState) -> TenantStore:
    return asyncio.run(tenancy.store(TENANT))


@pytest.fixture
def neighbour(tenancy: Tenancy) -> TenantStore:
    async def make() -> TenantStore:
        await tenancy.keys.create(NEIGHBOUR)
        return await tenancy.store(NEIGHBOUR)

    return asyncio.run(make())


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def copied(objects: ObjectStore, source: str, target: str) -> None:
    await objects.put(target, (await objects.get(source)).body)


async def test_what_is_put_is_got_and_lies_sealed_under_the_tenants_prefix(
    store: TenantStore, objects: ObjectStore
) -> None:
    etag = await store.put("examples/x", TEXT)
    assert await store.get("examples/x") == (TEXT, etag)
    assert await store.exists("examples/x")
    assert [key async for key in objects.keys("tenants/")] == ["tenants/t1/examples/x"]
    stored = (await objects.get("tenants/t1/examples/x")).body
    assert b"canary" not in stored
    await store.put("examples/x", TEXT)
    assert (await objects.get("tenants/t1/examples/x")).body != stored, "equal texts must not look equal"


@pytest.mark.parametrize(
    "relative", ["../t10/examples/x", "examples/../../t10/examples/x", "/examples/x", "state.json"]
)
async def test_no_key_of_another_tenant_can_be_named(
    store: TenantStore, neighbour: TenantStore, relative: str, tmp_path: Path
) -> None:
    await neighbour.put("examples/x", TEXT)
    (tmp_path / "f").write_bytes(TEXT)
    for use in (
        store.put(relative, b"mine"),
        store.get(relative),
        store.exists(relative),
        store.erase(relative),
        store.put_file(relative, tmp_path / "f"),
        store.get_file(relative, tmp_path / "g"),
    ):
        with pytest.raises(ForbiddenKey):
            await use
    for parts in (("..", "t10", "examples"), ("examples", ".."), ("",), ("nothing",)):
        with pytest.raises(ForbiddenKey):
            await store.erase_folder(*parts)
        with pytest.raises(ForbiddenKey):
            [key async for key in store.list(*parts)]
    assert (await neighbour.get("examples/x"))[0] == TEXT


async def test_an_object_moved_to_another_tenant_or_name_does_not_open(
    store: TenantStore, neighbour: TenantStore, objects: ObjectStore
) -> None:
    await store.put("examples/x", TEXT)
    await copied(objects, "tenants/t1/examples/x", "tenants/t10/examples/x")
    await copied(objects, "tenants/t1/examples/x", "tenants/t1/examples/y")
    with pytest.raises(SealBroken):
        await neighbour.get("examples/x")
    with pytest.raises(SealBroken):
        await store.get("examples/y")


async def test_the_neighbours_key_opens_nothing_even_under_the_right_name(
    store: TenantStore, neighbour: TenantStore, objects: ObjectStore
) -> None:
    await store.put("examples/x", TEXT)
    thief = TenantStore(objects, replace(neighbour.keys, tenant=TENANT))
    with pytest.raises(SealBroken):
        await thief.get("examples/x")


async def test_bytes_that_were_never_sealed_are_refused(store: TenantStore, objects: ObjectStore) -> None:
    for body in (b"", b"plain text", b"SANO1", b"SANO1" + bytes(32)):
        await objects.put("tenants/t1/examples/x", body)
        with pytest.raises(SealBroken):
            await store.get("examples/x")


async def test_conditional_writes_come_through_the_seal(store: TenantStore) -> None:
    etag = await store.put("examples/x", b"one", if_absent=True)
    with pytest.raises(PreconditionFailed):
        await store.put("examples/x", b"two", if_absent=True)
    await store.put("examples/x", b"two", if_match=etag)
    with pytest.raises(PreconditionFailed):
        await store.put("examples/x", b"three", if_match=etag)
    assert (await store.get("examples/x"))[0] == b"two"


async def test_a_record_is_put_where_there_is_none_and_the_first_one_stays(store: TenantStore) -> None:
    first, second = (ConsentRecord(consent_id="c1", version=version) for version in (1, 2))
    assert [await store.put_if_absent("consents/c1", record) for record in (first, second)] == [True, False]
    assert (await store.get_record("consents/c1", ConsentRecord))[0] == first


async def test_records_are_read_as_what_they_are(store: TenantStore) -> None:
    consent = ConsentRecord(consent_id="c1", version=3, granted=True)
    etag = await store.put_record("consents/c1", consent)
    assert await store.get_record("consents/c1", ConsentRecord) == (consent, etag)
    with pytest.raises(SealBroken, match="not a LeaseRecord") as refused:
        await store.get_record("consents/c1", LeaseRecord)
    assert "c1" not in str(refused.value)
    with pytest.raises(ObjectNotFound):
        await store.get_record("consents/c2", ConsentRecord)


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 20 * MIB + 3])
async def test_a_file_of_any_size_goes_there_and_back(
    store: TenantStore, objects: ObjectStore, tmp_path: Path, size: int
) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(hashlib.shake_128(b"weights").digest(size))
    await store.put_file("exports/e/weights", there)
    await store.get_file("exports/e/weights", back)
    assert back.read_bytes() == there.read_bytes()
    assert names_in(tmp_path) == ["back", "there"]
    assert [upload async for upload in objects.uploads("")] == []


async def test_a_file_appears_only_once_every_byte_was_authentic(
    store: TenantStore, objects: ObjectStore, tmp_path: Path
) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(bytes(3 * MIB))
    await store.put_file("exports/e/weights", there)
    key = tenant_key(TENANT, "exports/e/weights")
    sealed = (await objects.get(key)).body
    for spoiled in (sealed[: 2 * MIB], sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1])):
        await objects.put(key, spoiled)
        with pytest.raises(SealBroken):
            await store.get_file("exports/e/weights", back)
        assert names_in(tmp_path) == ["there"], "no part of it, not even a partial file"


async def test_a_failed_download_leaves_an_earlier_file_alone(store: TenantStore, tmp_path: Path) -> None:
    (tmp_path / "back").write_bytes(b"earlier")
    with pytest.raises(ObjectNotFound):
        await store.get_file("exports/e/none", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"earlier"


async def test_a_file_that_exists_is_not_written_over(store: TenantStore, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(9 * MIB))
    await store.put("exports/e/weights", b"first")
    with pytest.raises(PreconditionFailed):
        await store.put_file("exports/e/weights", tmp_path / "f", if_absent=True)
    assert (await store.get("exports/e/weights"))[0] == b"first"


async def test_listing_shows_relative_keys_of_one_folder_only(store: TenantStore, neighbour: TenantStore) -> None:
    for relative in ("runs/r1/job.json", "runs/r1/lease.json", "runs/r10/job.json", "examples/x"):
        await store.put(relative, b"")
        await neighbour.put(relative, b"")
    assert [key async for key in store.list("runs", "r1")] == ["runs/r1/job.json", "runs/r1/lease.json"]
    assert [key async for key in store.list("examples")] == ["examples/x"]


async def test_erasing_removes_every_version_of_one_object(store: TenantStore, objects: ObjectStore) -> None:
    for relative in ("contents/x/1", "contents/x/10"):
        await store.put(relative, b"one")
        await store.put(relative, b"two")
    await objects.delete(tenant_key(TENANT, "contents/x/1"))
    await store.erase("contents/x/1")
    await store.erase("contents/x/1")
    assert {version.key async for version in objects.versions("tenants/")} == {"tenants/t1/contents/x/10"}


async def test_erasing_a_folder_leaves_its_look_alikes_and_the_neighbour(
    store: TenantStore, neighbour: TenantStore, objects: ObjectStore
) -> None:
    for relative in ("staging/r1/1/f", "staging/r1/2/f", "staging/r10/1/f"):
        await store.put(relative, b"x")
        await store.put(relative, b"y")
        await neighbour.put(relative, b"x")
    await store.erase_folder("staging", "r1")
    left = {version.key async for version in objects.versions("tenants/t1/")}
    assert left == {"tenants/t1/staging/r10/1/f"}
    assert len([key async for key in neighbour.list("staging")]) == 3


async def test_large_bodies_are_sealed_and_opened_off_the_event_loop(
    store: TenantStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways: a trained adapter of tens of megabytes must not stop whatever else runs here."""
    on_the_loop: list[tuple[str, bool]] = []

    def noted(name: str, real: Callable[[bytes, str, bytes], bytes]) -> Callable[[bytes, str, bytes], bytes]:
        def change(data_key: bytes, key: str, body: bytes) -> bytes:
            on_the_loop.append((name, threading.current_thread() is threading.main_thread()))
            return real(data_key, key, body)

        return change

    monkeypatch.setattr(tenant_store, "seal", noted("seal", seal))
    monkeypatch.setattr(tenant_store, "open_sealed", noted("open", open_sealed))
    for body in (TEXT, bytes(3 * MIB)):
        await store.put("examples/x", body)
        assert (await store.get("examples/x"))[0] == body
    assert on_the_loop == [("seal", True), ("open", True), ("seal", False), ("open", False)]
