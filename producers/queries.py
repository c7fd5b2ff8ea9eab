"""What operators look at. Reads only, of ids and numbers: nothing here opens an example's text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import Field

from producers.past import all_adapters, all_digests, all_run_ids, all_runs, left_out
from schemas import object_keys
from schemas.events import UsageRecorded, UsageSource
from schemas.holds import LegalHold
from schemas.identifiers import OpaqueId, PurgeId, Sha256Hex, TenantName
from schemas.model import Contract
from schemas.policy import TenantPolicy
from schemas.records import LeftOutExample, PurgeRecord, StoreRefusal
from schemas.state import TenantState, oldest_first
from schemas.usage import UsageDay, UsageSum, amounts_of
from tenancy.bootstrap import Tenancy
from tenancy.bounded import gathered
from tenancy.errors import KeyDestroyed, ObjectNotFound, Refused
from tenancy.purge_records import PurgeRecords
from tenancy.tenant_id import TenantId


class TenantView(Contract):
    """One tenant. ``examples``, ``adapters`` and ``runs`` are absent where counting was not asked for."""

    tenant: TenantName
    status: str
    active_adapter: Sha256Hex | None
    adapters: int | None = None
    runs: int | None = None
    new_examples: int = Field(description="eligible, and in no training's batch yet")
    examples: int | None = None
    policy: TenantPolicy
    rev: int
    purge_id: PurgeId | None
    holds: tuple[LegalHold, ...] = ()
    public_key: dict[str, str] | None = Field(default=None, description="JWK to encrypt inline content to")


class RunView(Contract):
    """One training run. ``left_out``: what its latest attempt could not train on."""

    run_id: OpaqueId
    status: str
    attempts: int
    requested_at: datetime
    reason_code: str | None
    adapter_digest: Sha256Hex | None
    training_set_id: Sha256Hex | None
    left_out: tuple[LeftOutExample, ...]
    trained_tokens: int
    train_seconds: float


class AdapterView(Contract):
    """One published adapter."""

    digest: Sha256Hex
    status: str
    active: bool
    rolled_back: bool
    run_id: OpaqueId
    training_set_id: Sha256Hex
    base_model_digest: Sha256Hex
    size_bytes: int
    published_at: datetime


class PurgeView(Contract):
    """One purge. ``remaining_seconds`` of the deletion SLA are negative once it has passed; absent when certified.

    ``flags`` are the side states: ``blocked-by-hold``, ``partial``, ``uncertifiable``, ``overdue``. They do not replace
    the step.
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


class UsageView(Contract):
    """What a tenant used, summed over its records of one source: the amounts that something measures.

    ``engine_seconds``: of the engine's time for inference, of the worker's time for training. ``bytes_written``: of
    published adapters; nothing is taken off it when one is erased.
    """

    source: UsageSource
    records: int
    prompt_tokens: int
    completion_tokens: int
    training_tokens: int
    engine_seconds: float
    bytes_written: int


async def tenants(tenancy: Tenancy) -> list[TenantView]:
    """Every tenant that was ever onboarded, purged ones too, by id."""
    ids = [tenant async for tenant in tenancy.states.tenants()]
    return [_tenant_view(snapshot.state) for snapshot in await gathered(map(tenancy.states.read, ids))]


async def tenant(tenancy: Tenancy, tenant_id: TenantId) -> TenantView:
    """One tenant, its examples, adapters and runs counted. Raises :class:`UnknownTenant`."""
    view = _tenant_view((await tenancy.states.read(tenant_id)).state)
    prefix = object_keys.tenant_area(tenant_id, "examples")
    counts = {
        "examples": sum([1 async for _ in tenancy.objects.keys(prefix)]),
        "adapters": len(await all_digests(tenancy, tenant_id)),
        "runs": len(await all_run_ids(tenancy, tenant_id)),
    }
    try:
        public_key = await tenancy.keys.public_key(tenant_id)
    except KeyDestroyed:
        public_key = None
    return view.model_copy(update={**counts, "public_key": public_key})


def _tenant_view(state: TenantState) -> TenantView:
    return TenantView(
        tenant=state.tenant,
        status=state.status,
        active_adapter=state.active_adapter,
        new_examples=len(state.curation.fresh),
        policy=state.policy,
        rev=state.rev,
        purge_id=state.purge.purge_id if state.purge else None,
        holds=state.holds,
    )


_NOT_SHOWN = {"fence", "taken_at", "trigger"}


async def runs(tenancy: Tenancy, tenant_id: TenantId) -> list[RunView]:
    """The tenant's runs, oldest first. Raises :class:`UnknownTenant`."""
    runs = await all_runs(tenancy, tenant_id)
    without = await left_out(tenancy, tenant_id, runs)
    views = [
        RunView(run_id=run_id, left_out=without[run_id], **run.model_dump(exclude=_NOT_SHOWN))
        for run_id, run in runs.items()
    ]
    return sorted(views, key=lambda view: view.requested_at)


async def adapters(tenancy: Tenancy, tenant_id: TenantId) -> list[AdapterView]:
    """The tenant's published adapters, oldest first. Raises :class:`UnknownTenant`."""
    state = (await tenancy.states.read(tenant_id)).state
    known = await all_adapters(tenancy, tenant_id)
    return [
        AdapterView(
            digest=digest,
            active=digest == state.active_adapter,
            **known[digest].model_dump(exclude={"fence", "retired_at"}),
        )
        for digest in oldest_first(known)
    ]


async def whole_digest(tenancy: Tenancy, tenant_id: TenantId, start: str) -> str:
    """The one digest of the tenant's adapters that begins with ``start``. Raises :class:`Refused`."""
    found = [digest for digest in await all_digests(tenancy, tenant_id) if digest.startswith(start)]
    if len(found) != 1:
        await tenancy.active(tenant_id)  # a purged tenant has none, whatever the digest
        which = "no adapter" if not found else f"{len(found)} adapters"
        raise Refused("unknown-adapter", f"refused: the tenant has {which} whose digest begins so")
    return found[0]


async def owner(tenancy: Tenancy, start: str) -> tuple[TenantId, str]:
    """The tenant and the whole digest of the adapter that begins with ``start``. Raises :class:`Refused`."""
    ids = [tenant_id async for tenant_id in tenancy.states.tenants()]
    held = await gathered(all_digests(tenancy, tenant_id) for tenant_id in ids)
    found = [
        (tenant_id, digest)
        for tenant_id, digests in zip(ids, held, strict=True)
        for digest in digests
        if digest.startswith(start)
    ]
    if len(found) != 1:
        which = "no adapter" if not found else f"{len(found)} adapters"
        raise Refused("unknown-adapter", f"refused: {which} of any tenant has a digest that begins so")
    return found[0]


@dataclass(frozen=True)
class Purges:
    """What there is under ``purges/``: ``unreadable`` are objects whose record this version cannot read."""

    views: list[PurgeView]
    unreadable: list[str]


async def purges(tenancy: Tenancy) -> Purges:
    """Every purge, the one with the earliest deadline first; certified ones last."""
    now = tenancy.clock()
    unreadable: list[str] = []

    def note(purge_id: str, error: Exception) -> None:
        if isinstance(error, Refused):
            raise error  # rights that are missing are no fault of one record
        unreadable.append(f"{object_keys.PURGES_PREFIX}{purge_id}.json")

    records = PurgeRecords(tenancy.objects, tenancy.clock)
    views = [_purge_view(record, now) async for record in records.all(note)]
    return Purges(sorted(views, key=lambda view: (view.step == "certified", view.deadline)), unreadable)


def _purge_view(record: PurgeRecord, now: datetime) -> PurgeView:
    is_open = record.step != "certified"
    noted = {acknowledgement.replica_id for acknowledgement in record.acknowledgements}
    replicas = tuple(r for r in record.replicas if r not in noted) if is_open else ()
    is_flagged = {
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
    if record.step == "deleted" and record.verified_at and record.settled_at is not None and now < record.settled_at:
        yield f"late writers, until {record.settled_at.isoformat(timespec='seconds')}"
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
        return await PurgeRecords(tenancy.objects, tenancy.clock).read(state.purge.purge_id)
    except ObjectNotFound:
        return "fencing"


async def certificate(tenancy: Tenancy, purge_id: str) -> bytes:
    """The signed certificate of a purge, as it stands. Raises :class:`Refused` when there is none."""
    try:
        return (await tenancy.objects.get(object_keys.certificate_key(purge_id))).body
    except ObjectNotFound:
        raise Refused("no-certificate", f"refused: {purge_id} is not certified; see `sano purges`") from None


async def usage(tenancy: Tenancy, tenant_id: TenantId) -> list[UsageView]:
    """Sums by source. Raises :class:`UnknownTenant`, and :class:`KeyDestroyed` after a purge."""
    await tenancy.states.read(tenant_id)
    store = await tenancy.store(tenant_id)

    async def sums_in(name: str) -> Mapping[UsageSource, UsageSum]:
        if name.startswith(object_keys.USAGE_DAYS):
            return (await store.get_record(name, UsageDay))[0].sums
        record, _ = await store.get_record(name, UsageRecorded)
        return {record.source: amounts_of(record)}

    names = [relative async for relative in store.list("usage")]
    total: dict[UsageSource, UsageSum] = {}
    for sums in await gathered(sums_in(name) for name in names):
        for source, amounts in sums.items():
            total[source] = total.get(source, UsageSum()).plus(amounts)
    return [
        UsageView(
            source=source,
            bytes_written=amounts.bytes_stored,
            **amounts.model_dump(exclude={"bytes_stored", "gpu_seconds"}),
        )
        for source, amounts in sorted(total.items())
    ]
