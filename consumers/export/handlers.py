"""Exports an adapter: copies it, its manifest and the list of its examples to the tenant's ``exports/<id>/``."""

from __future__ import annotations

from schemas.bus.envelope import Event
from schemas.bus.events import ExportReady, ExportRequested
from schemas.bus.outcome import Outcome
from schemas.objects.exports import ExportDecision
from schemas.objects.state import TenantState
from tenancy.bootstrap import Tenancy
from tenancy.errors import Contradicted, Refused
from tenancy.evidence.trust import Verifier
from tenancy.lifecycle.exports import EXPORT_FILES, decided_export, write_export
from tenancy.state.archive import Archive

NOTHING_ACTIVE = "nothing-active"
UNKNOWN_ADAPTER = "unknown-adapter"


class ExportPorts:
    """What an export acts through."""

    def __init__(self, tenancy: Tenancy, verifier: Verifier) -> None:
        self.tenancy = tenancy
        self.verifier = verifier


async def on_export_requested(event: Event[ExportRequested], ports: ExportPorts) -> Outcome:
    """Decide what is exported, once; write the files; then say that they are ready.

    A redelivery finds the decision, whatever is active by then: it says the same again, or nothing.
    """
    data = event.data
    work = await ports.tenancy.begin(event)
    state, store = work.state, work.store
    archive = Archive(store)
    decision, is_new = await decided_export(store, data.export_id, lambda: _decision(data, state, archive))
    if decision.refusal_code == UNKNOWN_ADAPTER:
        # Each time: a process may have died after the decision and before the dead letter.
        raise Refused(UNKNOWN_ADAPTER, "refused: the tenant has no adapter of this digest that it may take away")
    digest = decision.adapter_digest
    if None not in (digest, data.adapter_digest) and digest != data.adapter_digest:
        raise Contradicted  # another export was asked for under this id
    if digest is None:
        return Outcome.REFUSED_POLICY if is_new else Outcome.NOOP_DUPLICATE
    adapter = await archive.known_adapter(state, digest)
    if adapter is not None and adapter.status == "retired":
        return Outcome.NOOP_STALE  # its weights were taken out again, or are about to be
    is_written = await write_export(store, ports.verifier, data.export_id, digest)
    ready = ExportReady(export_id=data.export_id, adapter_digest=digest, files=EXPORT_FILES)
    await work.outbox.publish(work.tenant, ready, causation_id=event.id)
    return Outcome.EFFECT if is_written else Outcome.NOOP_DUPLICATE


async def _decision(data: ExportRequested, state: TenantState, archive: Archive) -> ExportDecision:
    digest = data.adapter_digest or state.active_adapter
    if digest is None:
        return ExportDecision(refusal_code=NOTHING_ACTIVE)  # there is nothing to take away yet
    adapter = await archive.known_adapter(state, digest)
    if adapter is None or adapter.status != "ready":
        return ExportDecision(refusal_code=UNKNOWN_ADAPTER)
    return ExportDecision(adapter_digest=digest)
