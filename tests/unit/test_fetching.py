"""An adapter's files reach the disk only when seal, signature, hashes and shapes are right; else nothing does."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import pickle
import shutil
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from inference.adapters import spare_file
from inference.adapters.adapter_files import AdapterFiles, NotServable, adapter_folder
from schemas.base.canonical import adapter_digest
from schemas.evidence.statements import EVICTION_PREDICATE, TRAINING_PREDICATE, statement
from schemas.models.adapter_files import CONFIG_FILE, WEIGHTS_FILE, config_sha256, weights_sha256
from schemas.objects import object_keys
from schemas.objects.object_keys import ADAPTER_MANIFEST
from schemas.objects.state import TenantState
from schemas.objects.training import TrainingSet, TrainingSetEntry
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.errors import StoreUnavailable
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import Range, StoredObject
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.gates import CLEAN
from tests.fixtures.manifests import training_manifest
from tests.unit.test_adapter_files import IN, OUT, PREFIX, R, good_config, good_tensors, safetensors

TENANT, OTHER = TenantId("t1"), TenantId("t10")
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
BASE, ANOTHER_BASE = "b" * 64, "c" * 64
DIGEST = "d" * 64
BOUND_SECONDS = 30.0
SHAPES = {"model.layers.0.self_attn.q_proj": (OUT, IN)}
OURS = AllKeys.numbered(1)
THEIRS = AllKeys.numbered(2)


@dataclass(frozen=True)
class Adapter:
    """An adapter as it is to be stored: everything about it may be told wrong."""

    tenant: TenantId = TENANT
    config: bytes = json.dumps(good_config()).encode()
    weights: bytes = safetensors(good_tensors())
    base: str = BASE
    signer: AllKeys = OURS
    predicate: str = TRAINING_PREDICATE
    manifest_tenant: str | None = None
    manifest_base: str | None = None
    manifest_digest: str | None = None

    @property
    def digest(self) -> str:
        return adapter_digest(
            tenant=self.tenant,
            base_model_digest=self.base,
            config_sha256=config_sha256(self.config),
            weights_sha256=weights_sha256(self.weights),
        )

    def manifest(self) -> bytes:
        entry = TrainingSetEntry(
            example_id="e1",
            version=1,
            commitment="a" * 64,
            reviewer_id="rev-1",
            approval_event_id="event-1",
            consent_id=None,
            consent_event_id=None,
            gate=CLEAN,
        )
        manifest = training_manifest(
            TrainingSet(set_id="d" * 64, tenant=self.tenant, entries=(entry,)),
            self.manifest_base or self.base,
            config=self.config,
            weights=self.weights,
            at=NOW,
            tenant=self.manifest_tenant or self.tenant,
            adapter_digest=self.manifest_digest or self.digest,
        )
        return json.dumps(self.signer.sign(statement(self.predicate, {WEIGHTS_FILE: "e" * 64}, manifest))).encode()


class Bench:
    """Two onboarded tenants, and a replica's adapter files."""

    def __init__(self, root: Path) -> None:
        self.objects = MemoryObjectStore()
        self.tenancy = assemble(
            self.objects, KeyFileMasterKey(bytes(range(32))), RecordingPublisher(), "/test", lambda: NOW
        )
        self.root = root
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.files = self.with_tenancy(self.tenancy)

    def with_tenancy(self, tenancy: Tenancy) -> AdapterFiles:
        return AdapterFiles(tenancy, OURS.trust, self.root, BASE, SHAPES, max_rank=16)

    async def onboard(self) -> None:
        for tenant in (TENANT, OTHER):
            await self.tenancy.keys.create(tenant)
            await self.tenancy.states.create(TenantState(tenant=tenant, nonce="n"))

    async def store(
        self, adapter: Adapter, *, under: str | None = None, owner: TenantId = TENANT, **changed: bytes | None
    ) -> str:
        """Seal the adapter's files; ``changed`` puts other bytes, or none, in place of one of them."""
        digest = under or adapter.digest
        store = await self.tenancy.store(owner)
        bodies = {"weights": adapter.weights, "config": adapter.config, "manifest": adapter.manifest(), **changed}
        names = {"weights": WEIGHTS_FILE, "config": CONFIG_FILE, "manifest": ADAPTER_MANIFEST}
        for name, body in bodies.items():
            if body is not None:
                await store.put(object_keys.adapter(digest, names[name]), body)
        return digest

    async def fetched(self, digest: str, tenant: TenantId = TENANT) -> Path:
        """As a load does: its files go where they are not to be served."""
        try:
            fetched = await self.files.fetch(tenant, digest)
            await fetched.verify()
        except NotServable:
            self.files.remove(digest)
            raise
        return fetched.directory

    async def refused(self, digest: str, tenant: TenantId = TENANT) -> str:
        """The reason of the refusal, after which nothing is on the disk."""
        with pytest.raises(NotServable) as refusal:
            await self.fetched(digest, tenant)
        assert list(self.root.rglob("*")) == []
        return str(refusal.value)


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path / "adapters")
    await made.onboard()
    return made


async def test_a_good_adapter_lies_in_a_directory_of_its_digest_with_exactly_the_two_files(bench: Bench) -> None:
    adapter = Adapter()
    directory = await bench.fetched(await bench.store(adapter))
    assert directory == bench.root / adapter.digest
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == {
        WEIGHTS_FILE: adapter.weights,
        CONFIG_FILE: adapter.config,
    }
    assert [path.name for path in bench.root.iterdir()] == [adapter.digest]


async def test_the_weights_are_hashed_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large adapter that is as long as everything else that is checked."""
    adapter, hashed = Adapter(), bytearray()
    digest, sha256 = await bench.store(adapter), hashlib.sha256

    class Noted:
        """Also in which parts: what is given to it lies in a buffer that is used again."""

        def __init__(self, body: bytes = b"") -> None:
            self.inner = sha256()
            self.update(body)

        def update(self, body: bytes | memoryview) -> None:
            hashed.extend(body)
            self.inner.update(body)

        def digest(self) -> bytes:
            return self.inner.digest()

        def hexdigest(self) -> str:
            return self.inner.hexdigest()

    monkeypatch.setattr(hashlib, "sha256", Noted)
    await bench.fetched(digest)
    assert hashed.count(adapter.weights) == 1


async def test_nobody_but_the_replica_may_read_the_files(bench: Bench) -> None:
    directory = await bench.fetched(await bench.store(Adapter()))
    for path in (bench.root, directory):
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IRWXU


async def test_fetching_again_gives_the_same_directory(bench: Bench) -> None:
    digest = await bench.store(Adapter())
    assert await bench.fetched(digest) == await bench.fetched(digest)
    assert [path.name for path in bench.root.iterdir()] == [digest]


async def test_removing_leaves_nothing_and_may_be_done_twice(bench: Bench) -> None:
    digest = await bench.store(Adapter())
    await bench.fetched(digest)
    assert bench.files.remove(digest)
    assert bench.files.remove(digest)
    assert list(bench.root.rglob("*")) == []


async def test_the_next_adapter_is_written_over_a_file_of_zeros_that_has_no_name(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare_file, "PAUSE_SECONDS", 0.0)
    first, second = Adapter(), Adapter(tenant=OTHER)
    await bench.fetched(await bench.store(first))
    assert bench.files.spare._making is not None
    await bench.files.spare._making
    (file,) = bench.files.spare._made
    spare = os.fstat(file.fileno())
    assert spare.st_nlink == 0
    assert [path.name for path in bench.root.iterdir()] == [first.digest]
    directory = await bench.fetched(await bench.store(second, owner=OTHER), OTHER)
    assert (directory / WEIGHTS_FILE).stat().st_ino == spare.st_ino
    assert (directory / WEIGHTS_FILE).read_bytes() == second.weights


# --- the folder of all of them


def left_in(root: Path) -> list[Path]:
    """What is in the folder, and beside it."""
    return list(root.parent.rglob("*"))


def test_the_folder_is_empty_at_first_and_gone_at_the_end(tmp_path: Path) -> None:
    root = tmp_path / "replicas" / "replica-0"
    for left in (root, root.with_name(f"{root.name}.gone")):
        (left / DIGEST).mkdir(parents=True)
        (left / DIGEST / WEIGHTS_FILE).write_bytes(b"an earlier process's")
    with adapter_folder(root) as made:
        assert made == root
        assert left_in(root) == [root]
        assert stat.S_IMODE(root.stat().st_mode) == stat.S_IRWXU
        (root / DIGEST).mkdir()
        (root / DIGEST / WEIGHTS_FILE).write_bytes(b"weights")
    assert left_in(root) == []


async def test_a_fetch_that_nobody_waits_for_leaves_nothing_after_the_end(tmp_path: Path) -> None:
    with adapter_folder(tmp_path / "adapters") as root:
        bench = Bench(root)
        await bench.onboard()
        digest = await bench.store(Adapter())
    assert "could not be written here" in await bench.refused(digest)
    assert left_in(root) == []


def test_while_the_folder_is_removed_no_late_fetch_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread's write amid the removal would make it fail, and the weights stay."""
    root, was_there, remove = tmp_path / "adapters", [], shutil.rmtree

    def watched(path: Path, ignore_errors: bool) -> None:
        was_there.append(root.exists())
        remove(path, ignore_errors=ignore_errors)

    with adapter_folder(root):
        (root / DIGEST).mkdir()
        monkeypatch.setattr(shutil, "rmtree", watched)
    assert was_there[-1] is False
    assert left_in(root) == []


def test_what_cannot_be_removed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    with adapter_folder(tmp_path / "adapters") as root:
        (root / DIGEST).mkdir()
        monkeypatch.setattr(shutil, "rmtree", lambda path, ignore_errors: None)
    assert caplog.messages == ["adapter files not removed"]


# --- what is not there, or not as it was stored


@pytest.mark.parametrize("file", ["weights", "config", "manifest"])
async def test_without_one_of_its_files_an_adapter_is_refused(bench: Bench, file: str) -> None:
    without: dict[str, Any] = {file: None}
    assert "missing" in await bench.refused(await bench.store(Adapter(), **without))


async def test_an_adapter_that_nobody_stored_is_refused(bench: Bench) -> None:
    assert "missing" in await bench.refused("f" * 64)


async def test_weights_as_pickle_are_never_looked_at(bench: Bench) -> None:
    adapter = Adapter()
    digest = await bench.store(adapter, weights=None)
    store = await bench.tenancy.store(TENANT)
    await store.put(object_keys.adapter(digest, "adapter_model.bin"), pickle.dumps({"weights": 1}))
    assert "missing" in await bench.refused(digest)
    beside = await bench.store(adapter)
    directory = await bench.fetched(beside)
    assert {path.name for path in directory.iterdir()} == {WEIGHTS_FILE, CONFIG_FILE}


async def test_a_pickle_under_the_name_of_the_weights_is_refused_although_it_is_signed(bench: Bench) -> None:
    assert "safetensors" in await bench.refused(await bench.store(Adapter(weights=pickle.dumps({"weights": 1}))))


@pytest.mark.parametrize("file", [WEIGHTS_FILE, CONFIG_FILE, ADAPTER_MANIFEST])
async def test_a_changed_byte_of_a_stored_object_breaks_its_seal(bench: Bench, file: str) -> None:
    digest = await bench.store(Adapter())
    key = object_keys.tenant_key(TENANT, object_keys.adapter(digest, file))
    body = bytearray((await bench.objects.get(key)).body)
    body[-1] ^= 1
    await bench.objects.put(key, bytes(body))
    assert "sealed object does not open" in await bench.refused(digest)


@pytest.mark.parametrize("file", [WEIGHTS_FILE, CONFIG_FILE, ADAPTER_MANIFEST])
async def test_an_object_that_was_never_sealed_is_refused(bench: Bench, file: str) -> None:
    digest = await bench.store(Adapter())
    await bench.objects.put(object_keys.tenant_key(TENANT, object_keys.adapter(digest, file)), b"plain")
    assert "no seal" in await bench.refused(digest)


async def test_other_weights_sealed_in_their_place_are_refused(bench: Bench) -> None:
    """Whoever can seal cannot sign: a byte that was changed before sealing does not fit the manifest."""
    adapter = Adapter()
    weights = bytearray(adapter.weights)
    weights[-1] ^= 1
    assert "hash" in await bench.refused(await bench.store(adapter, weights=bytes(weights)))


async def test_another_config_sealed_in_its_place_is_refused(bench: Bench) -> None:
    other = json.dumps({**good_config(), "lora_alpha": 32}).encode()
    assert "hash" in await bench.refused(await bench.store(Adapter(), config=other))


@pytest.mark.parametrize("manifest", [b"", b"{}", b"[]", b"null", b"1", b'"x"', b"\xff", b"[" * 100_000])
async def test_a_manifest_that_is_none_is_refused(bench: Bench, manifest: bytes) -> None:
    await bench.refused(await bench.store(Adapter(), manifest=manifest))


async def test_every_changed_byte_of_the_manifest_is_refused(bench: Bench) -> None:
    adapter = Adapter()
    manifest = adapter.manifest()
    for position in range(0, len(manifest), 97):
        changed = bytearray(manifest)
        changed[position] ^= 1
        await bench.refused(await bench.store(adapter, manifest=bytes(changed)))


# --- whose it is


async def test_objects_copied_from_another_tenant_do_not_open(bench: Bench) -> None:
    theirs = Adapter(tenant=OTHER)
    digest = await bench.store(theirs, owner=OTHER)
    for file in object_keys.ADAPTER_FILES:
        relative = object_keys.adapter(digest, file)
        stored = await bench.objects.get(object_keys.tenant_key(OTHER, relative))
        await bench.objects.put(object_keys.tenant_key(TENANT, relative), stored.body)
    assert "sealed object does not open" in await bench.refused(digest)


async def test_another_tenants_adapter_sealed_anew_by_this_one_is_refused(bench: Bench) -> None:
    """A tenant that got hold of another's plain files and their true manifest still cannot have them served."""
    theirs = Adapter(tenant=OTHER)
    assert "another tenant" in await bench.refused(await bench.store(theirs, owner=TENANT))


async def test_another_tenants_adapter_cannot_be_asked_for_by_its_digest(bench: Bench) -> None:
    digest = await bench.store(Adapter(tenant=OTHER), owner=OTHER)
    assert "missing" in await bench.refused(digest, TENANT)
    assert await bench.fetched(digest, OTHER)


async def test_an_adapter_under_another_digest_than_its_own_is_refused(bench: Bench) -> None:
    assert "digest" in await bench.refused(await bench.store(Adapter(), under="f" * 64))
    assert "digest" in await bench.refused(await bench.store(Adapter(manifest_digest="f" * 64), under="f" * 64)), (
        "also where the manifest says so itself"
    )
    assert "digest" in await bench.refused(await bench.store(Adapter(manifest_digest="f" * 64)))


async def test_an_adapter_of_another_base_model_is_refused(bench: Bench) -> None:
    assert "another base model" in await bench.refused(await bench.store(Adapter(base=ANOTHER_BASE)))
    assert "digest" in await bench.refused(await bench.store(Adapter(base=ANOTHER_BASE, manifest_base=BASE)))


async def test_a_manifest_signed_by_another_key_is_refused(bench: Bench) -> None:
    assert "signature" in await bench.refused(await bench.store(Adapter(signer=THEIRS)))


async def test_a_statement_of_another_kind_is_no_manifest(bench: Bench) -> None:
    assert "signs no manifests" in await bench.refused(await bench.store(Adapter(predicate=EVICTION_PREDICATE)))


async def test_after_its_key_is_destroyed_nothing_of_a_tenant_is_served(bench: Bench) -> None:
    digest = await bench.store(Adapter())
    await bench.tenancy.keys.destroy(TENANT)
    assert "key" in await bench.refused(digest)


# --- what is in it: true, signed, and unfit


def _tensors(change: Callable[[dict[str, Any]], None]) -> bytes:
    tensors: dict[str, Any] = good_tensors()
    change(tensors)
    return safetensors(tensors)


def _rank_32(tensors: dict[str, Any]) -> None:
    tensors[f"{PREFIX}.lora_A.weight"] = ("F32", (32, IN), bytes(4 * 32 * IN))
    tensors[f"{PREFIX}.lora_B.weight"] = ("F32", (OUT, 32), bytes(4 * OUT * 32))


def _not_finite(tensors: dict[str, Any]) -> None:
    tensors[f"{PREFIX}.lora_A.weight"] = ("F32", (R, IN), struct.pack("<f", float("nan")) * (R * IN))


def _extra(tensors: dict[str, Any]) -> None:
    tensors["base_model.model.lm_head.weight"] = ("F32", (1,), bytes(4))


def _other_layer(tensors: dict[str, Any]) -> None:
    for name in list(tensors):
        tensors[name.replace("layers.0", "layers.7")] = tensors.pop(name)


UNFIT = {
    "too high a rank": (
        Adapter(config=json.dumps({**good_config(), "r": 32}).encode(), weights=_tensors(_rank_32)),
        "r must be an integer from 1 to 16",
    ),
    "a rank that the weights do not have": (
        Adapter(config=json.dumps({**good_config(), "r": 16}).encode()),
        "does not fit r=16",
    ),
    "not a number": (Adapter(weights=_tensors(_not_finite)), "infinity or a NaN"),
    "an extra tensor": (Adapter(weights=_tensors(_extra)), "not named"),
    "a layer that the base does not have": (Adapter(weights=_tensors(_other_layer)), "linear layer"),
    "trailing bytes": (Adapter(weights=safetensors(good_tensors()) + b"x"), "longer or shorter"),
    "another kind of adapter": (
        Adapter(config=json.dumps({**good_config(), "use_dora": True}).encode()),
        "use_dora",
    ),
}


@pytest.mark.parametrize("what", UNFIT)
async def test_what_is_signed_and_unfit_is_refused_all_the_same(bench: Bench, what: str) -> None:
    adapter, reason = UNFIT[what]
    assert reason in await bench.refused(await bench.store(adapter))


# --- what goes wrong on the way


@dataclass
class KeyLast(MemoryObjectStore):
    """A store that gives the tenant's key once the weights were asked for."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def read_range(self, key: str, start: int, into: memoryview) -> Range:
        self.asked.set()
        return await super().read_range(key, start, into)

    async def get(self, key: str) -> StoredObject:
        if key == object_keys.key_key(TENANT):
            await asyncio.wait_for(self.asked.wait(), BOUND_SECONDS)
        return await super().get(key)


async def test_the_weights_come_while_the_tenants_key_is_being_opened(bench: Bench) -> None:
    digest = await bench.store(Adapter())
    slow = KeyLast(bench.objects.objects)
    tenancy = replace(bench.tenancy, objects=slow, keys=replace(bench.tenancy.keys, objects=slow))
    await (await bench.with_tenancy(tenancy).fetch(TENANT, digest)).verify()


class Failing(MemoryObjectStore):
    """A store that does not answer for the manifests."""

    async def get(self, key: str) -> StoredObject:
        if key.endswith(ADAPTER_MANIFEST):
            raise StoreUnavailable("the object store did not answer")
        return await super().get(key)


async def test_a_store_that_does_not_answer_is_a_refusal_and_no_crash(bench: Bench) -> None:
    digest = await bench.store(Adapter())
    failing = Failing(bench.objects.objects)
    bench.files = bench.with_tenancy(
        replace(bench.tenancy, objects=failing, keys=replace(bench.tenancy.keys, objects=failing))
    )
    assert "did not answer" in await bench.refused(digest)


@pytest.mark.parametrize("file", [WEIGHTS_FILE, CONFIG_FILE])
async def test_a_full_disk_is_a_refusal_and_leaves_no_part_of_the_weights(
    bench: Bench, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = await bench.store(Adapter())
    opened = Path.open

    def full(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        if path.name != file or mode not in ("wb", "xb"):
            return opened(path, mode, *more, **named)
        with opened(path, mode) as begun:
            begun.write(b"0123456789")
        raise OSError(28, os.strerror(28), str(path))

    monkeypatch.setattr(Path, "open", full)
    assert "could not be written" in await bench.refused(digest)
    monkeypatch.undo()
    assert await bench.fetched(digest)


async def test_a_directory_that_an_interrupted_fetch_left_counts_as_left_and_is_removed(bench: Bench) -> None:
    digest = await bench.store(Adapter())
    partial = bench.root / f"{digest}.part"
    partial.mkdir()
    (partial / WEIGHTS_FILE).write_bytes(Adapter().weights)
    assert bench.files.remove(digest)
    assert list(bench.root.rglob("*")) == []


async def test_no_refusal_names_what_is_in_the_files(bench: Bench) -> None:
    for adapter in (
        Adapter(config=json.dumps({**good_config(), "peft_type": "canary-8841"}).encode()),
        Adapter(config=json.dumps({**good_config(), "base_model_name_or_path": "/home/canary-8841"}).encode()),
        Adapter(weights=safetensors({"canary-8841": ("F32", (1,), bytes(4))})),
        Adapter(manifest_tenant="canary-8841"),
    ):
        assert "canary-8841" not in await bench.refused(await bench.store(adapter))
