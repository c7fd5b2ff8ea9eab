"""Reads and changes ``purges/<tenant>/<id>.json``, by compare-and-swap only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from schemas.base.contract import read_tolerant
from schemas.objects import object_keys
from schemas.objects.purges import PurgeRecord, SubcontractorConfirmation
from schemas.tenant.policy import DELETION_RESERVE
from tenancy.errors import ObjectNotFound, PreconditionFailed, Refused
from tenancy.platform.clock import Clock
from tenancy.state.open_work import announce
from tenancy.storage.cas_record import CasRecord
from tenancy.storage.objects import ObjectStore
from tenancy.tenant_id import TenantId

Note = Callable[[PurgeRecord], PurgeRecord]
Unreadable = Callable[[str, Exception], None]
"""Told of a purge whose record this version cannot read, by ``<tenant>/<id>`` and why. The error's text may quote the
record."""


@dataclass(frozen=True)
class PurgeRecords:
    """Reads and changes the records of all purges. Each is a tenant's own: no other's command can have its place.

    A purge is announced before its record is written, so that an open one is found without reading those that are
    over, which are kept for ever.
    """

    objects: ObjectStore
    clock: Clock

    async def read(self, tenant: str, purge_id: str) -> PurgeRecord:
        """Raises :class:`ObjectNotFound`, also for an id that no purge can have: events name others' ids too."""
        try:
            return (await self._read(tenant, purge_id))[0]
        except object_keys.ForbiddenKey:
            raise ObjectNotFound(object_keys.PURGES_PREFIX) from None

    async def create(self, record: PurgeRecord) -> bool:
        """Write the record; False where there is one: then that one counts."""
        await announce(self.objects, "purges", TenantId(record.tenant))
        try:
            await self.objects.put(_key(record), record.model_dump_json().encode(), if_absent=True)
        except PreconditionFailed:
            return False
        return True

    async def note(self, tenant: str, purge_id: str, change: Note) -> tuple[PurgeRecord, bool]:
        """Apply ``change``, one of :meth:`CasRecord.swap`; whether anything was written.

        Raises :class:`ObjectNotFound`, and :class:`ContendedState` after too many lost races.
        """
        held = CasRecord(
            partial(self._read, tenant, purge_id),
            lambda record, etag: self.objects.put(_key(record), record.model_dump_json().encode(), if_match=etag),
        )
        record, _, written = await held.swap(change)
        return record, written

    async def move(self, record: PurgeRecord, change: Note) -> PurgeRecord:
        """Note ``change``, unless somebody else took the purge elsewhere since ``record``: then theirs counts.

        The moment at which a step is reached is noted with it.
        """

        def moved(current: PurgeRecord) -> PurgeRecord:
            if (current.step, current.verified_at) != (record.step, record.verified_at):
                return current
            changed = change(current)
            return changed if changed.step == current.step else changed.evolve(moved_at=self.clock())

        return (await self.note(record.tenant, record.purge_id, moved))[0]

    async def step(self, record: PurgeRecord, **update: object) -> PurgeRecord:
        """:meth:`move` by an update of fields that nobody changes beside a step."""
        return await self.move(record, updated(**update))

    async def remove(self, record: PurgeRecord) -> None:
        """Remove the record of a command that another purge overtook, with its versions."""
        key = _key(record)
        await self.objects.delete_versions([v async for v in self.objects.versions(key) if v.key == key])

    async def of(self, tenant: TenantId, unreadable: Unreadable) -> list[PurgeRecord]:
        """The tenant's purges, certified ones too. One request, and one for each.

        A record that cannot be read (a newer release wrote it, say, before it was rolled back) does not hide the
        others.
        """
        prefix = object_keys.purges_prefix(tenant)
        names = [name_of(key) async for key in self.objects.keys(prefix) if is_record(key)]
        found = [await self.named(name, unreadable) for name in names]
        return [record for record in found if record is not None]

    async def named(self, name: str, unreadable: Unreadable) -> PurgeRecord | None:
        """The record under a key of this :func:`name_of`; None where it was removed since, or is told of as
        ``unreadable``.
        """
        try:
            return (await self._read(*name.split("/", 1)))[0]  # a name that no purge can have is told of, too
        except ObjectNotFound:
            return None
        except (ValueError, Refused) as error:
            unreadable(name, error)
            return None

    async def _read(self, tenant: str, purge_id: str = "") -> tuple[PurgeRecord, str]:
        stored = await self.objects.get(object_keys.purge_key(tenant, purge_id))
        return read_tolerant(PurgeRecord, stored.body), stored.etag


def is_record(key: str) -> bool:
    """Whether the key under ``purges/`` is of a record, and of no certificate."""
    return not key.endswith(".certificate.json")


def name_of(key: str) -> str:
    """``<tenant>/<id>``."""
    return key.removeprefix(object_keys.PURGES_PREFIX).removesuffix(".json")


def updated(**update: object) -> Note:
    """Set these fields."""
    return lambda record: record.evolve(**update)


def accepted(command: PurgeRecord) -> Note:
    """The command in the place of one that became a dead letter; of one that was accepted it is a repetition."""
    return lambda record: record if record.dead_letter is None else command


def asked_for(command: PurgeRecord) -> Note:
    """:func:`accepted`; and the deletion SLA counts from whichever command was given first: as many days as the record
    promises, since a policy that changed in between moves no promise. The purge's waits then end in time for it.

    No change once everything is verified, since the certificate is a function of the record from there on.
    """

    def change(record: PurgeRecord) -> PurgeRecord:
        if record.dead_letter is not None:
            return command
        is_over = record.step in ("verified", "certified")
        if is_over or command.dead_letter is not None or record.requested_at <= command.requested_at:
            return record
        deadline = command.requested_at + timedelta(days=record.sla_days)
        told = {name: getattr(command, name) for name in _OF_THE_COMMAND}
        return record.evolve(**told, deadline=deadline, **_waits(record, deadline))

    return change


_OF_THE_COMMAND = ("requested_at", "requested_by", "reason_code", "request_event_id")


def _waits(record: PurgeRecord, deadline: datetime) -> dict[str, object]:
    """The waits of a purge that was fenced before its deadline moved forward."""
    latest = deadline - DELETION_RESERVE
    export, confirmations = record.export, record.confirmations_until
    if export is not None:
        export = export.evolve(waits_until=min(export.waits_until, latest))
    return {"export": export, "confirmations_until": None if confirmations is None else min(confirmations, latest)}


def confirmed(confirmation: SubcontractorConfirmation) -> Note:
    """Record that a subcontractor destroyed what it held; again is no change.

    Not before the destruction is decided, when there is nothing yet that could be confirmed, and not once everything is
    verified: the certificate is a function of the record from there on. The change raises :class:`Refused`.
    """

    def change(record: PurgeRecord) -> PurgeRecord:
        name = confirmation.subcontractor
        known = {noted.subcontractor: noted for noted in record.confirmations}
        if name in known:
            if known[name].reference != confirmation.reference:
                raise Refused("confirmation-exists", "refused: it is confirmed already, by another reference")
            return record
        if record.destruction_decided_at is None:
            raise Refused("destruction-undecided", "refused: the destruction is not decided yet; confirm it after that")
        if name not in record.subcontractors:
            raise Refused(
                "unknown-subcontractor",
                "refused: it was not declared when this tenant was fenced; SANO_SUBCONTRACTORS declares for later ones",
            )
        if record.step in ("verified", "certified"):
            why = (
                "refused: the purge is certified, with this subcontractor as unconfirmed; keep both documents together"
            )
            raise Refused("purge-certified", why)
        recorded_at = max(confirmation.recorded_at, record.destruction_decided_at)  # the operator's clock may be behind
        noted = confirmation.evolve(recorded_at=recorded_at)
        return record.evolve(confirmations=(*record.confirmations, noted))

    return change


def _key(record: PurgeRecord) -> str:
    return object_keys.purge_key(record.tenant, record.purge_id)
