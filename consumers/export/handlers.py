"""Export: copy an adapter, its manifest and the list of its examples to the tenant's ``exports/<id>/``."""

from __future__ import annotations

from typing import cast

from schemas.envelope import Event
from schemas.events import ExportReady, ExportRequested
from schemas.outcome import Outcome
from tenancy.archive import Archive
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.exports import EXPORT_FILES, exported_digest, write_export
from tenancy.signing import Verifier
from tenancy.tenant_id import TenantId


class ExportPorts:
    """What an export acts through."""

    def __init__(self, tenancy: Tenancy, verifier: Verifier) -> None:
        self.tenancy = tenancy
        self.verifier = verifier


async def on_export_requested(event: Event, ports: ExportPorts) -> Outcome:
    """Write the export's files, then say that they are ready. A redelivery only says it again, under the same id."""
    data = cast(ExportRequested, event.data)
    tenancy, tenant = ports.tenancy, TenantId(event.subject)
    state = (await tenancy.active(tenant)).state
    store = await tenancy.store(tenant)
    exported = await exported_digest(store, ports.verifier, data.export_id)
    digest = exported or data.adapter_digest or state.active_adapter
    if digest is None:
        return Outcome.REFUSED_POLICY  # there is nothing to take away yet
    adapter = await Archive(store).known_adapter(state, digest)
    if exported and adapter is not None and adapter.status == "retired":
        return Outcome.NOOP_STALE  # its weights were taken out again
    if adapter is None or adapter.status != "ready":
        raise Refused("unknown-adapter", "refused: the tenant has no adapter of this digest that it may take away")
    await write_export(store, ports.verifier, data.export_id, digest)
    ready = ExportReady(export_id=data.export_id, adapter_digest=digest, files=EXPORT_FILES)
    await tenancy.publisher.publish(
        Event(subject=tenant, data=ready, time=tenancy.clock(), source=tenancy.outbox.source, causation_id=event.id)
    )
    return Outcome.NOOP_DUPLICATE if exported else Outcome.EFFECT
