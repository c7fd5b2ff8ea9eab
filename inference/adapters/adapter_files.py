"""Fetches an adapter into memory-backed files, only if seal, signature, hashes and shapes verify."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from inference.adapters.spare_file import SpareFile
from schemas.base.canonical import adapter_digest
from schemas.evidence.statements import TrainingManifest
from schemas.models.adapter_files import AdapterRefused, WeightsCheck, check_declared, config_sha256
from schemas.models.safetensors_header import SafetensorsHeader
from schemas.objects import object_keys
from tenancy.bootstrap import Tenancy
from tenancy.errors import BadSignature, ObjectNotFound, Refused, Transient
from tenancy.evidence.training_manifest import open_training_manifest
from tenancy.evidence.trust import Verifier
from tenancy.platform.concurrency import gathered
from tenancy.service.telemetry import SCOPE
from tenancy.storage.ranges import RangeBuffers
from tenancy.storage.tenant_store import TenantStore, file_in_ranges
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.inference")


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


class _Weights:
    """Hashes the weights and looks at them as they come. What is wrong with them is said once they are known to be the
    signed ones.
    """

    def __init__(self, size: int) -> None:
        self._sha256 = hashlib.sha256()
        self._check = WeightsCheck(size)
        self._refused: AdapterRefused | None = None

    def update(self, part: memoryview) -> None:
        self._sha256.update(part)
        if self._refused is None:
            try:
                self._check.update(part)
            except AdapterRefused as refused:
                self._refused = refused

    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def header(self) -> SafetensorsHeader:
        """Raises :class:`AdapterRefused`."""
        if self._refused is not None:
            raise self._refused
        return self._check.header


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

    async def fetch(self, tenant: TenantId, digest: str) -> Path:
        """The directory with exactly the two checked files. Raises :class:`NotServable`."""
        try:
            return await self._fetched(tenant, digest)
        except BaseException as error:
            self.remove(digest)
            if isinstance(error, ObjectNotFound):
                raise NotServable("a file of the adapter is missing") from None
            if isinstance(error, Refused | AdapterRefused | Transient):
                raise NotServable(str(error)) from None
            if isinstance(error, OSError):
                raise NotServable(f"its files could not be written here: {error.strerror}") from None
            raise

    async def _fetched(self, tenant: TenantId, digest: str) -> Path:
        """Nothing has the name of the digest before everything is checked: the engine is given no other directory."""
        directory, partial = self._places(digest)
        store = asyncio.create_task(self.tenancy.store(tenant))
        # Both to their ends: what goes on after the other has failed would write into the directory of the next fetch.
        described, weights = await asyncio.gather(
            self._described(store, digest), self._weights(store, tenant, digest), return_exceptions=True
        )
        if isinstance(described, BaseException):
            raise described
        if isinstance(weights, BaseException):
            raise weights
        manifest, config = described
        self._require_signed(tenant, digest, manifest, config, weights.sha256())
        check_declared(config, weights.header(), self.base_shapes, self.max_rank)
        (partial / object_keys.ADAPTER_CONFIG).write_bytes(config)
        partial.rename(directory)
        self.spare.renew(self.buffers.object_bytes)
        return directory

    async def _described(self, store: Awaitable[TenantStore], digest: str) -> tuple[TrainingManifest, bytes]:
        """What the manifest says, which is signed, and the configuration."""
        names = (object_keys.ADAPTER_MANIFEST, object_keys.ADAPTER_CONFIG)
        opened_store = await store
        opened = await gathered(opened_store.get(object_keys.adapter(digest, name)) for name in names)
        (envelope, _), (config, _) = opened
        return open_training_manifest(self.verifier, envelope), config

    async def _weights(self, store: Awaitable[TenantStore], tenant: TenantId, digest: str) -> _Weights:
        file = await asyncio.to_thread(self._begun, digest)
        relative = object_keys.adapter(digest, object_keys.ADAPTER_WEIGHTS)
        return await file_in_ranges(self.tenancy.objects, tenant, store, relative, file, _Weights, self.buffers)

    def _require_signed(
        self, tenant: TenantId, digest: str, manifest: TrainingManifest, config: bytes, weights: str
    ) -> None:
        config_digest = config_sha256(config)
        if manifest.tenant != tenant:
            raise BadSignature("the manifest belongs to another tenant")
        if manifest.base_model_digest != self.base_model_digest:
            raise BadSignature("the adapter was trained on another base model than this replica serves")
        if (manifest.config_sha256, manifest.weights_sha256) != (config_digest, weights):
            raise BadSignature("a file's hash does not match the manifest")
        computed = adapter_digest(
            tenant=tenant,
            base_model_digest=self.base_model_digest,
            config_sha256=config_digest,
            weights_sha256=weights,
        )
        if computed != digest or manifest.adapter_digest != digest:
            raise BadSignature("the files do not match the digest that they are stored under")

    def _begun(self, digest: str) -> BinaryIO:
        """The weights' file, in a directory that holds nothing else."""
        self.remove(digest)
        _, partial = self._places(digest)
        partial.mkdir(mode=0o700)
        path = partial / object_keys.ADAPTER_WEIGHTS
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
