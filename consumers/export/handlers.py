"""Export: copy an adapter, its manifest and the list of its examples to the tenant's ``exports/<id>/``."""

from __future__ import annotations

import json
from typing import cast

from schemas import object_keys
from schemas.envelope import Event
from schemas.events import ExportReady, ExportRequested
from schemas.manifests import TRAINING_PREDICATE, ExportedExample, TrainingManifest
from schemas.model import read_tolerant
from schemas.outcome import Outcome
from tenancy.archive import Archive
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.signing import Verifier
from tenancy.store import TenantStore
from tenancy.tenant_id import TenantId

EXAMPLES_FILE = "examples.jsonl"
EXPORT_FILES = (*object_keys.ADAPTER_FILES, EXAMPLES_FILE)


class ExportPorts:
    """What an export acts through."""

    def __init__(self, tenancy: Tenancy, verifier: Verifier) -> None:
        self.tenancy = tenancy
        self.verifier = verifier


async def on_export_requested(event: Event, ports: ExportPorts) -> Outcome:
    """Write the export's files, then say that they are ready.

    ``examples.jsonl`` is written last: where it exists the export is complete, and a redelivery only repeats the
    announcement, under the same id.
    """
    data = cast(ExportRequested, event.data)
    tenancy, tenant = ports.tenancy, TenantId(event.subject)
    state = (await tenancy.active(tenant)).state
    digest = data.adapter_digest or state.active_adapter
    if digest is None:
        return Outcome.REFUSED_POLICY  # there is nothing to take away yet
    store = await tenancy.store(tenant)
    adapter = await Archive(store).known_adapter(state, digest)
    if adapter is None or adapter.status == "publishing":
        raise Refused("unknown-adapter", "refused: the tenant has no published adapter of this digest")
    is_complete = await store.exists(object_keys.export(data.export_id, EXAMPLES_FILE))
    if not is_complete:
        await _write(store, ports.verifier, data.export_id, digest)
    ready = ExportReady(export_id=data.export_id, adapter_digest=digest, files=EXPORT_FILES)
    await tenancy.publisher.publish(
        Event(subject=tenant, data=ready, time=tenancy.clock(), source=tenancy.outbox.source, causation_id=event.id)
    )
    return Outcome.NOOP_DUPLICATE if is_complete else Outcome.EFFECT


async def _write(store: TenantStore, verifier: Verifier, export_id: str, digest: str) -> None:
    for file in object_keys.ADAPTER_FILES:
        body, _ = await store.get(object_keys.adapter(digest, file))
        await store.put(object_keys.export(export_id, file), body)
        if file == object_keys.ADAPTER_MANIFEST:
            statement = verifier.verify(json.loads(body), TRAINING_PREDICATE)
            manifest = read_tolerant(TrainingManifest, statement["predicate"])
    lines = [line.model_dump_json() for line in exported_examples(manifest)]
    await store.put(object_keys.export(export_id, EXAMPLES_FILE), ("\n".join(lines) + "\n").encode())


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
