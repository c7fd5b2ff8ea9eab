"""Offers the tenant its adapter, as a sealed export, and waits some days for the pickup before anything is destroyed.

The fence refuses every other writer, so the purge writes the export itself. The tenant's days count from when it can
take the export, whatever held that up. A deadline ends the wait, not a person: a tenant that does not take its adapter
does not keep its data from being destroyed, and neither does an adapter that cannot be exported.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime

from consumers.purge.waiting import Waiting
from schemas.bus.events import ExportReady
from schemas.objects.purges import PurgeExport, PurgeRecord
from schemas.tenant.policy import DELETION_RESERVE, waits_until
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, Refused, Transient
from tenancy.evidence.trust import Verifier
from tenancy.lifecycle.exports import EXPORT_FILES, write_export
from tenancy.lifecycle.purge_records import PurgeRecords
from tenancy.platform.clock import between
from tenancy.platform.logs import SCOPE, error_location
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.purge")

_OUTAGES = (Transient, TimeoutError)
_EXPECTED = (Refused, ObjectNotFound, TimeoutError)


@dataclass(frozen=True)
class Handover:
    """The steps ``exported`` and ``acknowledged`` of a purge whose tenant has an adapter to take."""

    tenancy: Tenancy
    verifier: Verifier
    records: PurgeRecords
    deadline_seconds: float

    async def offer(self, record: PurgeRecord) -> PurgeRecord:
        """Write the export and announce it, or give it up: after an attempt, and not before its time is over.

        Raises :class:`Waiting` while it cannot be made, or whatever else made an attempt fail.
        """
        export, tenant = _export(record), TenantId(record.tenant)
        wait = (await self.tenancy.states.read(tenant)).state.policy.export_wait
        try:
            ready_at = await self._offer_export(record, tenant, str(export.adapter_digest))
        except Exception as error:
            code = _code(error)
            # An outage refuses nothing. It takes from the tenant only what the deletion SLA takes.
            ends_at = export.waits_until
            if isinstance(error, _OUTAGES):
                ends_at = max(ends_at, record.deadline - DELETION_RESERVE)
            if self.tenancy.clock() >= ends_at:
                logger.warning("export given up", extra={"purge_id": record.purge_id, "error": error_location(error)})
                return await self._note(record, step="acknowledged", refusal_code=code, wait=wait)
            await self._note(record, refusal_code=code)
            if isinstance(error, _EXPECTED):
                raise Waiting(f"the export cannot be made: {code}") from None
            raise
        until = max(export.waits_until, ready_at, waits_until(ready_at, wait, record.deadline))
        return await self._note(
            record, step="exported", ready_at=ready_at, waits_until=until, wait=wait, refusal_code=None
        )

    async def _offer_export(self, record: PurgeRecord, tenant: TenantId, digest: str) -> datetime:
        """When the tenant could take the export and was told so."""
        # No longer than a handler: so long the purge waits, before it certifies, for a process that hangs here.
        async with asyncio.timeout(self.deadline_seconds):
            await write_export(await self.tenancy.store(tenant), self.verifier, record.purge_id, digest)
        now = self.tenancy.clock()
        ready = ExportReady(export_id=record.purge_id, adapter_digest=digest, files=EXPORT_FILES)
        await self.tenancy.outbox.publish(tenant, ready, time=now, causation_id=record.request_event_id)
        return now

    async def await_pickup(self, record: PurgeRecord) -> PurgeRecord:
        """Go on when the tenant has said that it took its export, or its time is over. Raises :class:`Waiting`."""
        export = _export(record)
        if export.acknowledged_at is None and self.tenancy.clock() < export.waits_until:
            raise Waiting("the tenant has not taken its export")
        return await self.records.step(record, step="acknowledged")

    async def acknowledge(self, purge: PurgeRecord, acknowledged_by: str, at: datetime) -> bool:
        """Note that the tenant took its export; False for a repetition, and once the purge went on.

        It may come before the purge has noted that it wrote the export: what was written can be taken.
        """
        now = self.tenancy.clock()

        def note(current: PurgeRecord) -> PurgeRecord:
            export = current.export
            if export is None or export.acknowledged_at is not None or not awaits_acknowledgement(current):
                return current
            noted_at = between(at, current.fenced_at or current.requested_at, now)
            taken = export.evolve(acknowledged_at=noted_at, acknowledged_by=acknowledged_by)
            return current.evolve(export=taken)

        return (await self.records.note(purge.tenant, purge.purge_id, note))[1]

    async def _note(self, record: PurgeRecord, step: str = "fenced", **update: object) -> PurgeRecord:
        """Change the export alone: an acknowledgement may be noted in the same moment."""
        return await self.records.move(
            record,
            lambda current: current.evolve(step=step, export=_export(current).evolve(**update)),
        )


def awaits_acknowledgement(record: PurgeRecord) -> bool:
    """Whether the tenant's word still makes a difference."""
    return record.export is not None and record.step in ("fenced", "exported")


def waited_in_vain_until(record: PurgeRecord) -> datetime | None:
    """When the days of an export that was not taken were over, as some machine's clock said; None without one."""
    export = record.export
    if export is None or export.adapter_digest is None or export.acknowledged_at is not None:
        return None
    return export.waits_until


def _code(error: Exception) -> str:
    """Why an attempt to make the export failed, as the record and the certificate name it."""
    match error:
        case Refused():
            return error.code
        case ObjectNotFound():
            return "object-not-found"
        case TimeoutError():
            return "store-too-slow"
        case Transient():
            return "unavailable"
        case _:
            return "export-failed"


def _export(record: PurgeRecord) -> PurgeExport:
    if record.export is None:
        raise ValueError("a purge without a right of export has no such step")
    return record.export
