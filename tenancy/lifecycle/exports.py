"""Writes exports: for the export consumer on request, for a purge before it destroys anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from schemas.evidence.statements import ExportedExample, TrainingManifest
from schemas.objects import object_keys
from schemas.objects.exports import ExportDecision
from tenancy.evidence.training_manifest import open_training_manifest
from tenancy.evidence.trust import Verifier
from tenancy.storage.tenant_store import TenantStore

EXAMPLES_FILE = "examples.jsonl"
EXPORT_FILES = (*object_keys.ADAPTER_FILES, EXAMPLES_FILE)


async def export_decision(store: TenantStore, export_id: str) -> ExportDecision | None:
    """What was decided on the export that the tenant asked for; None where nobody has decided yet."""
    return (await store.find_record(object_keys.export_decision(export_id), ExportDecision))[0]


async def decided_export(
    store: TenantStore, export_id: str, decide: Callable[[], Awaitable[ExportDecision]]
) -> tuple[ExportDecision, bool]:
    """The one decision on the export, and whether it was made now. It is written down before anything is copied."""
    decision = await export_decision(store, export_id)
    if decision is not None:
        return decision, False
    made = await decide()
    if not await store.put_if_absent(object_keys.export_decision(export_id), made):
        # Another delivery has decided since.
        return (await store.get_record(object_keys.export_decision(export_id), ExportDecision))[0], False
    return made, True


async def erase_export_weights(store: TenantStore, export_id: str) -> None:
    """Take the weights out of an export that was not taken away. What remains says that it was made, and of what."""
    for file in object_keys.ADAPTER_MODEL_FILES:
        await store.erase(object_keys.export(export_id, file))


async def write_export(store: TenantStore, verifier: Verifier, export_id: str, digest: str) -> bool:
    """Copy an adapter, its manifest and the list of its examples to ``exports/<id>/``; False where that was done.

    ``examples.jsonl`` is written last: where it exists the export is complete. It may be another adapter's: whoever
    asks for an export chooses its id, which can be that of a purge to come, and a purge puts out the adapter it names.
    Raises :class:`BadSignature` and :class:`ObjectNotFound`.
    """
    if await store.exists(object_keys.export(export_id, EXAMPLES_FILE)):
        there, _ = await store.get(object_keys.export(export_id, object_keys.ADAPTER_MANIFEST))
        own, _ = await store.get(object_keys.adapter(digest, object_keys.ADAPTER_MANIFEST))
        if there == own:
            return False
    for file in object_keys.ADAPTER_FILES:
        body, _ = await store.get(object_keys.adapter(digest, file))
        await store.put(object_keys.export(export_id, file), body)
        if file == object_keys.ADAPTER_MANIFEST:
            manifest = open_training_manifest(verifier, body)
    lines = [line.model_dump_json() for line in exported_examples(manifest)]
    await store.put(object_keys.export(export_id, EXAMPLES_FILE), ("\n".join(lines) + "\n").encode())
    return True


def exported_examples(manifest: TrainingManifest) -> list[ExportedExample]:
    """Every example of the run's set and what it was used for."""
    roles = manifest.roles()
    return [
        ExportedExample(
            example_id=entry.example_id,
            version=entry.version,
            commitment=entry.commitment,
            reviewer_id=entry.reviewer_id,
            consent_id=entry.consent_id,
            role=roles[entry.example_id],
        )
        for entry in manifest.training_set.entries
    ]
