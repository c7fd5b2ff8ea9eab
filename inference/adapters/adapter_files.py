"""Fetches an adapter into memory-backed files, only if seal, signature, hashes and shapes verify.

Its weights are hashed while the engine loads them, which takes as long. Each of their frames has been opened with the
tenant's key under the digest's name before, and nobody can ask for the adapter until the hash is the signed one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from inference.adapters.spare_file import SpareFile
from inference.engine.loaded_adapters import Verify
from schemas.base.canonical import adapter_digest
from schemas.evidence.statements import TrainingManifest
from schemas.models.adapter_files import (
    AdapterRefused,
    WeightsCheck,
    check_declared,
    config_sha256,
    read_weights_header,
)
from schemas.objects import object_keys
from tenancy.bootstrap import Tenancy
from tenancy.errors import BadSignature, ObjectNotFound, Refused, Transient
from tenancy.evidence.training_manifest import open_training_manifest
from tenancy.evidence.trust import Verifier
from tenancy.platform.concurrency import finished, gathered
from tenancy.platform.logs import SCOPE
from tenancy.storage.ranges import RangeBuffers
from tenancy.storage.tenant_store import TenantStore, file_in_ranges
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.inference")

_PART_BYTES = 2**18
_OTHER_HASH = "a file's hash does not match the manifest"


class NotServable(Exception):
    """The adapter's objects are missing, changed, foreign or unfit. The message holds a reason, no content."""


@contextmanager
def adapter_folder(root: Path) -> Iterator[Path]:
    """A replica's folder for adapters, which nobody else may enter: empty at first, whatever an earlier process left
    there, and gone at the end.
    """
    _remove_whole(root)
    root.mkdir(parents=True, mode=0o700)
    try:
        yield root
    finally:
        _remove_whole(root)


def _remove_whole(root: Path) -> None:
    """A fetch that nobody waits for any more may still write into it, in a thread. It names the folder by its path, so
    from the renaming on it makes nothing new; ``.gone`` is no replica's id.
    """
    gone = root.with_name(f"{root.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    with suppress(OSError):
        root.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
    if root.exists() or gone.exists():
        logger.error("adapter files not removed", extra={"reason": "some of them are still there"})


@dataclass(frozen=True)
class FetchedAdapter:
    """The directory with exactly the two files. ``verify`` hashes the weights and looks at each number: to be called
    beside the engine's load, and nothing may be answered before it has returned. It raises :class:`NotServable`.
    """

    directory: Path
    verify: Verify


async def _verify(weights: Path, sha256: str) -> None:
    with _not_servable():
        # To its end, also where the caller is cancelled: while the file is open its memory is not free.
        await finished(asyncio.to_thread(_require_signed_weights, weights, sha256))


def _require_signed_weights(weights: Path, sha256: str) -> None:
    hashed, refused, part = hashlib.sha256(), None, memoryview(bytearray(_PART_BYTES))
    with weights.open("rb", buffering=0) as file:
        check = WeightsCheck(weights.stat().st_size)
        while read := file.readinto(part):
            hashed.update(part[:read])
            if refused is None:
                try:
                    check.update(part[:read])
                except AdapterRefused as error:
                    refused = error
    if hashed.hexdigest() != sha256:
        raise BadSignature(_OTHER_HASH)
    if refused is not None:  # said only of what is known to be the signed weights
        raise refused


@contextmanager
def _not_servable() -> Iterator[None]:
    try:
        yield
    except ObjectNotFound:
        raise NotServable("a file of the adapter is missing") from None
    except (Refused, AdapterRefused, Transient) as error:
        raise NotServable(str(error)) from None
    except OSError as error:
        raise NotServable(f"its files could not be written here: {error.strerror}") from None


@dataclass(frozen=True)
class AdapterFiles:
    """Fetches adapters into ``root``/<digest>, where :func:`adapter_folder` made ``root``. ``base_shapes``: (out, in)
    features of the base's linear layers.
    """

    tenancy: Tenancy
    verifier: Verifier
    root: Path
    base_model_digest: str
    base_shapes: Mapping[str, tuple[int, int]]
    max_rank: int
    buffers: RangeBuffers = field(default_factory=RangeBuffers, repr=False)
    spare: SpareFile = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spare", SpareFile(self.root))

    async def fetch(self, tenant: TenantId, digest: str) -> FetchedAdapter:
        """Everything of it is checked but what :meth:`FetchedAdapter.verify` does. Raises :class:`NotServable`."""
        try:
            with _not_servable():
                return await self._fetched(tenant, digest)
        except BaseException:
            self.remove(digest)
            raise

    async def _fetched(self, tenant: TenantId, digest: str) -> FetchedAdapter:
        """Nothing has the name of the digest before that: the engine is given no other directory."""
        directory, begun = self._places(digest)
        store = asyncio.create_task(self.tenancy.store(tenant))
        # Both to their ends: what goes on after the other has failed would write into the directory of the next fetch.
        described, written = await asyncio.gather(
            self._described(store, digest), self._written(store, tenant, digest), return_exceptions=True
        )
        if isinstance(described, BaseException):
            raise described
        if isinstance(written, BaseException):
            raise written
        manifest, config = described
        self._require_signed(tenant, digest, manifest, config)
        header = read_weights_header(begun / object_keys.ADAPTER_WEIGHTS)
        check_declared(config, header, self.base_shapes, self.max_rank)
        (begun / object_keys.ADAPTER_CONFIG).write_bytes(config)
        begun.rename(directory)
        self.spare.renew(self.buffers.object_bytes)
        weights = directory / object_keys.ADAPTER_WEIGHTS
        return FetchedAdapter(directory, partial(_verify, weights, manifest.weights_sha256))

    async def _described(self, store: Awaitable[TenantStore], digest: str) -> tuple[TrainingManifest, bytes]:
        """What the manifest says, which is signed, and the configuration."""
        names = (object_keys.ADAPTER_MANIFEST, object_keys.ADAPTER_CONFIG)
        opened_store = await store
        opened = await gathered(opened_store.get(object_keys.adapter(digest, name)) for name in names)
        (envelope, _), (config, _) = opened
        return open_training_manifest(self.verifier, envelope), config

    async def _written(self, store: Awaitable[TenantStore], tenant: TenantId, digest: str) -> None:
        file = await asyncio.to_thread(self._begun, digest)
        relative = object_keys.adapter(digest, object_keys.ADAPTER_WEIGHTS)
        await file_in_ranges(self.tenancy.objects, tenant, store, relative, file, self.buffers)

    def _require_signed(self, tenant: TenantId, digest: str, manifest: TrainingManifest, config: bytes) -> None:
        config_digest = config_sha256(config)
        if manifest.tenant != tenant:
            raise BadSignature("the manifest belongs to another tenant")
        if manifest.base_model_digest != self.base_model_digest:
            raise BadSignature("the adapter was trained on another base model than this replica serves")
        if manifest.config_sha256 != config_digest:
            raise BadSignature(_OTHER_HASH)
        computed = adapter_digest(
            tenant=tenant,
            base_model_digest=self.base_model_digest,
            config_sha256=config_digest,
            weights_sha256=manifest.weights_sha256,
        )
        if computed != digest or manifest.adapter_digest != digest:
            raise BadSignature("the files do not match the digest that they are stored under")

    def _begun(self, digest: str) -> BinaryIO:
        """The weights' file, in a directory that holds nothing else."""
        self.remove(digest)
        _, begun = self._places(digest)
        begun.mkdir(mode=0o700)
        path = begun / object_keys.ADAPTER_WEIGHTS
        return path.open("r+b" if self.spare.take(path) else "xb")

    def _places(self, digest: str) -> tuple[Path, Path]:
        """The adapter's directory, and the one that it is written in."""
        return self.root / digest, self.root / f"{digest}.part"

    def remove(self, digest: str) -> bool:
        """Delete an adapter's files, also those of a fetch that was cut off. True when nothing of it is left."""
        places = self._places(digest)
        for directory in places:
            shutil.rmtree(directory, ignore_errors=True)
        return not any(directory.exists() for directory in places)
