"""Shows what became of an example: the decision on it, and the adapters that were trained on it."""

from __future__ import annotations

from datetime import datetime

from producers.queries.adapters import adapters
from producers.queries.lineage import lineage
from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, ReasonCode, Sha256Hex
from schemas.objects import object_keys
from schemas.objects.curation import ExampleRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.evidence.trust import Verifier
from tenancy.platform.concurrency import gathered
from tenancy.tenant_id import TenantId


class UsedIn(Contract):
    """An adapter that was made with the example, in this version and role."""

    digest: Sha256Hex
    status: str
    active: bool
    version: int
    role: str


class DecidedExample(Contract):
    """The latest decision on an example. No text of it is here."""

    example_id: OpaqueId
    version: int
    status: str
    decided_at: datetime
    reason_code: ReasonCode | None
    consent_id: OpaqueId | None
    adapters: tuple[UsedIn, ...]


async def decided_example(tenancy: Tenancy, tenant: TenantId, example_id: str, verifier: Verifier) -> DecidedExample:
    """Read the decision, and every published adapter's manifest. Raises :class:`Refused` where nothing was decided."""
    store = await tenancy.store(tenant)
    record, _ = await store.find_record(object_keys.example(example_id), ExampleRecord)
    if record is None:
        raise Refused("not-open", "refused: no such example waits for reviewers or was decided")
    published = [view for view in await adapters(tenancy, tenant) if view.status != "publishing"]
    made = await gathered(lineage(tenancy, tenant, view.digest, verifier) for view in published)
    used = tuple(
        UsedIn(digest=view.digest, status=view.status, active=view.active, version=one.version, role=one.role)
        for view, of in zip(published, made, strict=True)
        for one in of.examples
        if one.example_id == example_id
    )
    return DecidedExample(
        example_id=example_id,
        version=record.version,
        status=record.status,
        decided_at=record.decided_at,
        reason_code=record.reason_code,
        consent_id=record.consent_id,
        adapters=used,
    )
