"""Shows a tenant's consents: granted or not, since when, and how many approved examples wait for each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from producers.queries.parts import part_of
from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId
from schemas.objects import object_keys
from schemas.objects.curation import ConsentRecord, ExampleRecord
from tenancy.bootstrap import Tenancy
from tenancy.platform.concurrency import gathered
from tenancy.tenant_id import TenantId


class ConsentView(Contract):
    """One consent. ``version`` 0: approved examples name it, and it was never granted or revoked. ``waiting``: of the
    part of the listing that was read.
    """

    consent_id: OpaqueId
    granted: bool
    version: int
    decided_at: datetime | None
    waiting: int


@dataclass(frozen=True)
class Consents:
    """``following``: the place behind which the listing goes on; None at its end."""

    views: list[ConsentView]
    following: str | None


async def consents(tenancy: Tenancy, tenant: TenantId, *, behind: str = "", most: int | None = None) -> Consents:
    """List consents by id. Reads at most ``most`` consents and waiting examples, from ``behind`` on: a consent for
    which more examples wait continues in the next part. Raises :class:`KeyDestroyed`.
    """
    store = await tenancy.store(tenant)
    ids = set[str]()
    marks = list[tuple[str, str]]()
    part = await part_of(store.list("consents", after=f"{object_keys.CONSENTS}{behind}" if behind else ""), most)
    for key in part.names:
        _, consent_id, *rest = key.split("/")
        ids.add(consent_id)
        marks += [(consent_id, rest[-1])] if rest else []

    async def waits(consent_id: str, example_id: str) -> bool:
        """What was withdrawn since, or approved under another consent, is still marked and waits no more."""
        record, _ = await store.find_record(object_keys.example(example_id), ExampleRecord)
        return record is not None and record.status == "approved" and record.consent_id == consent_id

    held = await gathered(waits(*mark) for mark in marks)
    waiting = Counter(consent_id for (consent_id, _), is_waiting in zip(marks, held, strict=True) if is_waiting)

    async def view(consent_id: str) -> ConsentView:
        held, _ = await store.find_record(object_keys.consent(consent_id), ConsentRecord)
        record = held or ConsentRecord(consent_id=consent_id)
        return ConsentView(
            consent_id=consent_id,
            granted=record.granted,
            version=record.version,
            decided_at=record.decided_at,
            waiting=waiting[consent_id],
        )

    following = part.following.removeprefix(object_keys.CONSENTS) if part.following else None
    return Consents(await gathered(view(consent_id) for consent_id in sorted(ids)), following)
