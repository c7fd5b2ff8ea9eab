"""Exports an adapter: requests the export, waits for it, and writes it to a folder that peft loads."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from producers.commands.requests import request_export
from producers.queries.waiting import Report, ignore, until
from schemas.base.contract import Contract, read_tolerant
from schemas.base.identifiers import OpaqueId, Sha256Hex, TenantName
from schemas.bus.events import ExportAcknowledged
from schemas.evidence.statements import ExportedExample, TrainingManifest
from schemas.models.adapter_files import check_adapter
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from tenancy.bootstrap import Tenancy
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.training_manifest import open_training_manifest, require_own
from tenancy.evidence.trust import Verifier
from tenancy.lifecycle.exports import EXAMPLES_FILE, EXPORT_FILES
from tenancy.state.registry import require_active
from tenancy.tenant_id import TenantId


class Exported(Contract):
    """An adapter that was taken away."""

    tenant: TenantName
    export_id: OpaqueId
    adapter_digest: Sha256Hex
    directory: str
    files: tuple[str, ...]
    examples: int


async def export_adapter(
    tenancy: Tenancy,
    tenant: TenantId,
    directory: Path,
    verifier: Verifier,
    *,
    requested_by: str,
    timeout_seconds: float,
    report: Report = ignore,
) -> Exported:
    """Export the active adapter into ``directory``, which is made and must be empty.

    Nothing appears there before the manifest's signature and the files' hashes were right. Of a tenant that is being
    purged and has a right of export, the purge's own export is taken, and that is acknowledged. Raises
    :class:`Refused`, :class:`BadSignature`, :class:`TenantFenced` and :class:`WaitedTooLong`.
    """
    require_empty(directory)
    put_out = await export_of_purge(tenancy, tenant)
    export_id = put_out or await request_export(tenancy, tenant, requested_by=requested_by)
    await export_written(tenancy, tenant, export_id, timeout_seconds=timeout_seconds, report=report)
    report("downloading")
    store = await tenancy.store(tenant)
    partial = await asyncio.to_thread(_folder_beside, directory)
    try:
        for file in EXPORT_FILES:
            await store.get_file(object_keys.export(export_id, file), partial / file)
        manifest = await asyncio.to_thread(checked_manifest, partial, tenant, verifier)
        await asyncio.to_thread(_move_files, partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if put_out is not None:
        acknowledged = ExportAcknowledged(
            export_id=export_id, adapter_digest=manifest.adapter_digest, acknowledged_by=requested_by
        )
        await tenancy.outbox.publish(tenant, acknowledged)
    return Exported(
        tenant=tenant,
        export_id=export_id,
        adapter_digest=manifest.adapter_digest,
        directory=str(directory),
        files=EXPORT_FILES,
        examples=len(manifest.training_set.entries),
    )


async def export_of_purge(tenancy: Tenancy, tenant: TenantId) -> str | None:
    """The export that the tenant's purge makes before it destroys anything: its id is the purge's. None otherwise."""
    state = (await tenancy.states.read(tenant)).state
    if not _is_export_offered(state) or state.purge is None:
        return None
    return state.purge.purge_id


def _is_export_offered(state: TenantState) -> bool:
    purge = state.purge
    is_open = state.status == "purging" and purge is not None and purge.destruction_decided_at is None
    return is_open and purge is not None and purge.export_digest is not None


async def export_written(
    tenancy: Tenancy, tenant: TenantId, export_id: str, *, timeout_seconds: float, report: Report = ignore
) -> None:
    """Return once every file of the export is there: the list of examples is written last.

    Raises :class:`TenantFenced` and :class:`WaitedTooLong`.
    """
    store = await tenancy.store(tenant)

    async def look() -> bool | None:
        state = (await tenancy.states.read(tenant)).state
        if not _is_export_offered(state):
            require_active(state)
        report("requested")
        return await store.exists(object_keys.export(export_id, EXAMPLES_FILE)) or None

    await until(look, what=f"export {export_id}", timeout_seconds=timeout_seconds)


def require_empty(directory: Path) -> None:
    """Raises :class:`Refused` when something is there that an export would mix with or overwrite."""
    why = None
    if directory.is_dir():
        why = "is not empty" if any(directory.iterdir()) else None
    elif directory.exists():
        why = "is not a folder"
    elif not directory.absolute().parent.is_dir():
        why = "has no parent folder"
    if why is not None:
        raise Refused("directory-not-empty", f"refused: {directory} {why}; name a new or an empty folder")


def _folder_beside(directory: Path) -> Path:
    """A new folder on the same file system, which only its owner may enter."""
    return Path(tempfile.mkdtemp(dir=directory.absolute().parent, prefix=f".{directory.name}."))


def _move_files(source: Path, directory: Path) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    for file in EXPORT_FILES:
        shutil.move(source / file, directory / file)


def checked_manifest(directory: Path, tenant: str, verifier: Verifier) -> TrainingManifest:
    """The manifest of an exported folder, once everything in the folder agrees with it.

    Raises :class:`BadSignature`, and :class:`~schemas.models.adapter_files.AdapterRefused` for what no server would
    load.
    """
    manifest = open_training_manifest(verifier, (directory / object_keys.ADAPTER_MANIFEST).read_bytes())
    require_own(manifest, tenant, manifest.adapter_digest)
    names = (object_keys.ADAPTER_WEIGHTS, object_keys.ADAPTER_CONFIG)
    found = check_adapter({name: (directory / name).read_bytes() for name in names})
    if (found.weights_sha256, found.config_sha256) != (manifest.weights_sha256, manifest.config_sha256):
        raise BadSignature("the adapter's files are not those that the manifest speaks of")
    lines = (directory / EXAMPLES_FILE).read_text(encoding="utf-8").splitlines()
    listed = [(e.example_id, e.version, e.commitment) for e in (read_tolerant(ExportedExample, line) for line in lines)]
    if listed != [(e.example_id, e.version, e.commitment) for e in manifest.training_set.entries]:
        raise BadSignature("the list of examples is not the one that the manifest speaks of")
    return manifest
