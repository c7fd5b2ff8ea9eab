"""Fetches an adapter into memory-backed files, only if seal, signature, hashes and shapes verify."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from schemas.base.canonical import adapter_digest
from schemas.models.adapter_files import AdapterRefused, check_form, config_sha256, weights_sha256
from schemas.objects import object_keys
from tenancy.bootstrap import Tenancy
from tenancy.errors import BadSignature, ObjectNotFound, Refused, Transient
from tenancy.evidence.training_manifest import open_training_manifest
from tenancy.evidence.trust import Verifier
from tenancy.platform.concurrency import gathered
from tenancy.service.telemetry import SCOPE
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

    async def fetch(self, tenant: TenantId, digest: str) -> Path:
        """The directory with exactly the two checked files. Raises :class:`NotServable`."""
        try:
            store = await self.tenancy.store(tenant)
            names = object_keys.ADAPTER_FILES
            opened = await gathered(store.get(object_keys.adapter(digest, name)) for name in names)
            bodies = {name: body for name, (body, _) in zip(names, opened, strict=True)}
            manifest = bodies.pop(object_keys.ADAPTER_MANIFEST)
            return await asyncio.to_thread(self._checked, tenant, digest, manifest, bodies)
        except ObjectNotFound:
            raise NotServable("a file of the adapter is missing") from None
        except (Refused, AdapterRefused, Transient) as error:
            raise NotServable(str(error)) from None

    def _checked(self, tenant: TenantId, digest: str, envelope: bytes, files: dict[str, bytes]) -> Path:
        manifest = open_training_manifest(self.verifier, envelope)
        config_digest = config_sha256(files[object_keys.ADAPTER_CONFIG])
        weights_digest = weights_sha256(files[object_keys.ADAPTER_WEIGHTS])
        if manifest.tenant != tenant:
            raise BadSignature("the manifest belongs to another tenant")
        if manifest.base_model_digest != self.base_model_digest:
            raise BadSignature("the adapter was trained on another base model than this replica serves")
        if (manifest.config_sha256, manifest.weights_sha256) != (config_digest, weights_digest):
            raise BadSignature("a file's hash does not match the manifest")
        computed = adapter_digest(
            tenant=tenant,
            base_model_digest=self.base_model_digest,
            config_sha256=config_digest,
            weights_sha256=weights_digest,
        )
        if computed != digest or manifest.adapter_digest != digest:
            raise BadSignature("the files do not match the digest that they are stored under")
        check_form(files, self.base_shapes, self.max_rank)
        return self._written(digest, files)

    def _written(self, digest: str, files: Mapping[str, bytes]) -> Path:
        self.remove(digest)
        directory, partial = self._places(digest)
        try:
            partial.mkdir(mode=0o700)
            for name, body in files.items():
                (partial / name).write_bytes(body)
            partial.rename(directory)
        except OSError as error:
            self.remove(digest)
            raise NotServable(f"its files could not be written here: {error.strerror}") from None
        return directory

    def _places(self, digest: str) -> tuple[Path, Path]:
        """The adapter's directory, and the one that it is written in."""
        return self.root / digest, self.root / f"{digest}.part"

    def remove(self, digest: str) -> bool:
        """Delete an adapter's files, also those of a fetch that was cut off. True when nothing of it is left."""
        places = self._places(digest)
        for directory in places:
            shutil.rmtree(directory, ignore_errors=True)
        return not any(directory.exists() for directory in places)
