"""Shows operators the purges, what each waits for, and its certificate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, PurgeId, TenantName
from schemas.objects import object_keys
from schemas.objects.purges import PurgeRecord, StoreRefusal
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, Refused
from tenancy.lifecycle.purge_records import PurgeRecords, is_record, name_of
from tenancy.platform.concurrency import gathered, in_pages
from tenancy.state.open_work import markers
from tenancy.tenant_id import TenantId


class PurgeView(Contract):
    """One purge. ``remaining_seconds`` of the deletion SLA are negative once it has passed; absent when certified.

    ``flags`` are the side states: ``not-fenced``, ``blocked-by-hold``, ``partial``, ``uncertifiable``, ``overdue``.
    They do not replace the step.
    """

    purge_id: PurgeId
    tenant: TenantName
    step: str
    flags: tuple[str, ...]
    waits_for: tuple[str, ...]
    requested_at: datetime
    moved_at: datetime
    deadline: datetime
    remaining_seconds: float | None
    waits_for_replicas: tuple[OpaqueId, ...]
    open_holds: tuple[OpaqueId, ...]
    refusals: tuple[StoreRefusal, ...]
    objects_removed: int
    versions_removed: int


@dataclass(frozen=True)
class Purges:
    """What there is under ``purges/``: ``unreadable`` are objects whose record this version cannot read."""

    views: list[PurgeView]
    unreadable: list[str]


async def purges(tenancy: Tenancy) -> Purges:
    """All of :func:`pages`."""
    found = Purges([], [])
    async for page in pages(tenancy):
        found.views.extend(page.views)
        found.unreadable.extend(page.unreadable)
    return found


async def pages(tenancy: Tenancy, *, only_open: bool = False) -> AsyncIterator[Purges]:
    """Page by page: those that are open, as their markers tell, the one with the earliest deadline first; then all
    others, by tenant and id.
    """
    now, objects = tenancy.clock(), tenancy.objects
    records = PurgeRecords(objects, tenancy.clock)
    shown: set[str] = set()
    unreadable: list[str] = []

    def note(name: str, error: Exception) -> None:
        if isinstance(error, Refused):
            raise error  # rights that are missing are no fault of one record
        shown.add(name)
        unreadable.append(f"{object_keys.PURGES_PREFIX}{name}.json")

    def page_of(found: Iterable[PurgeRecord | None]) -> Purges:
        views = sorted((_purge_view(record, now) for record in found if record), key=_by_urgency)
        page = Purges(views, list(unreadable))
        unreadable.clear()
        return page

    tenants = await markers(objects, "purges")
    found = [each for of in await gathered(records.of(tenant, note) for tenant in tenants) for each in of]
    opened = [record for record in found if record.step != "certified"]
    shown |= {f"{record.tenant}/{record.purge_id}" for record in opened}
    yield page_of(opened)
    if not only_open:
        keys = objects.keys(object_keys.PURGES_PREFIX)
        others = (name_of(key) async for key in keys if is_record(key) and name_of(key) not in shown)
        async for page in in_pages(others, lambda name: records.named(name, note)):
            yield page_of(page)


async def purges_of(tenancy: Tenancy, tenant_id: TenantId) -> Purges:
    """The purges of one tenant, the open ones first."""
    unreadable: list[str] = []

    def note(name: str, error: Exception) -> None:
        if isinstance(error, Refused):
            raise error  # rights that are missing are no fault of one record
        unreadable.append(name.rpartition("/")[2])

    now = tenancy.clock()
    records = await PurgeRecords(tenancy.objects, tenancy.clock).of(tenant_id, note)
    return Purges(sorted((_purge_view(record, now) for record in records), key=_by_urgency), unreadable)


def _by_urgency(view: PurgeView) -> tuple[bool, datetime]:
    return view.step == "certified", view.deadline


def _purge_view(record: PurgeRecord, now: datetime) -> PurgeView:
    is_open = record.step != "certified"
    noted = {acknowledgement.replica_id for acknowledgement in record.acknowledgements}
    replicas = tuple(r for r in record.replicas if r not in noted) if is_open else ()
    is_flagged = {
        "not-fenced": record.is_not_fenced(now),
        "blocked-by-hold": record.is_blocked_by_hold,
        "partial": record.is_partial,
        "uncertifiable": bool(record.uncertifiable),
        "overdue": (now if is_open else record.moved_at) > record.deadline,
    }
    return PurgeView(
        purge_id=record.purge_id,
        tenant=record.tenant,
        step=record.step,
        flags=tuple(flag for flag, is_set in is_flagged.items() if is_set),
        waits_for=tuple(_waits_for(record, replicas, now)),
        requested_at=record.requested_at,
        moved_at=record.moved_at,
        deadline=record.deadline,
        remaining_seconds=(record.deadline - now).total_seconds() if is_open else None,
        waits_for_replicas=replicas,
        open_holds=tuple(hold.hold_id for hold in record.open_holds),
        refusals=tuple(refusal for refusal in record.refusals if refusal.until is None),
        objects_removed=record.objects_removed,
        versions_removed=record.versions_removed,
    )


def _waits_for(record: PurgeRecord, replicas: tuple[str, ...], now: datetime) -> Iterator[str]:
    """What must happen before the next step, in words."""
    if record.dead_letter is not None:
        yield f"a command that is accepted: what asked for it is a dead letter ({record.dead_letter})"
    elif record.is_not_fenced(now):
        yield "the purge service, which has not fenced the tenant"
    export = record.export
    if record.step in ("fenced", "exported") and export is not None and export.adapter_digest is not None:
        if export.refusal_code is not None:
            yield f"an export that cannot be made ({export.refusal_code})"
        if now < export.waits_until:
            yield f"the tenant to take its export, until {export.waits_until.isoformat(timespec='minutes')}"
    if record.is_blocked_by_hold:
        yield from (f"release of hold {hold.hold_id} ({hold.reason_code})" for hold in record.open_holds)
    if record.step == "shredded":
        yield from (f"replica {replica}" for replica in replicas)
    for refusal in record.refusals:
        if refusal.until is None:
            yield f"store {refusal.store} to let go of {refusal.count} ({refusal.reason_code})"
    if record.step == "deleted" and record.verified_at and record.quiesced_at is not None and now < record.quiesced_at:
        yield f"late writers, until {record.quiesced_at.isoformat(timespec='seconds')}"
    if record.uncertifiable:
        rules = ", ".join(record.uncertifiable)
        yield f"a release that can certify it: its certificate would contradict itself ({rules})"
    until = record.confirmations_until
    if record.step in ("shredded", "evicted", "deleted") and until is not None and now < until:
        yield from (
            f"subcontractor {name} to confirm, until {until.isoformat(timespec='minutes')}"
            for name in record.unconfirmed
        )


async def purge_of(tenancy: Tenancy, tenant_id: TenantId) -> PurgeRecord | str:
    """The record of the tenant's purge; without one ``requested``, which it is at most, or ``fencing``.

    Raises :class:`UnknownTenant`.
    """
    state = (await tenancy.states.read(tenant_id)).state
    if state.purge is None:
        return "requested"
    try:
        return await PurgeRecords(tenancy.objects, tenancy.clock).read(tenant_id, state.purge.purge_id)
    except ObjectNotFound:
        return "fencing"


async def certificate(tenancy: Tenancy, tenant_id: str, purge_id: str) -> bytes:
    """The signed certificate of a purge, as it stands. Raises :class:`Refused` when there is none."""
    try:
        return (await tenancy.objects.get(object_keys.certificate_key(tenant_id, purge_id))).body
    except ObjectNotFound:
        raise Refused("no-certificate", f"refused: {purge_id} is not certified; see `sano purges`") from None
