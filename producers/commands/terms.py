"""Changes a tenant's own terms for operators. Terms are PHI: no event, no audit entry and no error has one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from producers.commands.audited import entered
from producers.sources.importing import DEADLINE_SECONDS
from schemas.base.contract import Contract
from schemas.bus.envelope import event_id
from schemas.evidence.audit import Actor
from schemas.objects.terms import Term, TermList
from tenancy.audit.log import AuditRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import Transient
from tenancy.lifecycle.terms import change_terms, read_term_list
from tenancy.redaction.terms import folded
from tenancy.tenant_id import TenantId

CHANGED = "terms.changed"


class TermsView(Contract):
    """How many terms a tenant has now."""

    terms: int
    allowed: int
    changed: bool


async def add_terms(
    tenancy: Tenancy,
    tenant: TenantId,
    terms: Iterable[Term] = (),
    allowed: Iterable[str] = (),
    *,
    changed_by: str,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> TermsView:
    """Add these. One that is there already, in whatever case, keeps its place and gets the kind that is given now."""
    new, new_allowed = {folded(term.text): term for term in terms}, {folded(term): term for term in allowed}

    def added(held: TermList) -> TermList:
        return held.evolve(
            terms=tuple(({folded(term.text): term for term in held.terms} | new).values()),
            allowed=tuple(({folded(term): term for term in held.allowed} | new_allowed).values()),
        )

    return await _changed(tenancy, tenant, added, changed_by, deadline_seconds)


async def remove_terms(
    tenancy: Tenancy,
    tenant: TenantId,
    terms: Iterable[str],
    *,
    changed_by: str,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> TermsView:
    """Remove these from both lists, in whatever case they are given."""
    gone = {folded(term) for term in terms}

    def removed(held: TermList) -> TermList:
        return held.evolve(
            terms=tuple(term for term in held.terms if folded(term.text) not in gone),
            allowed=tuple(term for term in held.allowed if folded(term) not in gone),
        )

    return await _changed(tenancy, tenant, removed, changed_by, deadline_seconds)


async def term_list(tenancy: Tenancy, tenant: TenantId) -> TermList:
    """The terms themselves, opened with the tenant's key."""
    await tenancy.active(tenant)
    return (await read_term_list(await tenancy.store(tenant)))[0]


async def _changed(
    tenancy: Tenancy, tenant: TenantId, change: Callable[[TermList], TermList], changed_by: str, deadline_seconds: float
) -> TermsView:
    store = await tenancy.store(tenant)
    try:
        async with asyncio.timeout(deadline_seconds):
            await tenancy.active(tenant)
            before, _ = await read_term_list(store)
            held = await change_terms(store, change)
    except TimeoutError:
        raise Transient("the object store is too slow; the same command, run again, does the rest") from None
    view = TermsView(terms=len(held.terms), allowed=len(held.allowed), changed=held.version != before.version)
    if view.changed:
        record = AuditRecord(
            occurrence=event_id(CHANGED, tenant, held.version),
            kind=CHANGED,
            time=tenancy.clock(),
            actor=Actor(role="operator", id=changed_by),
            facts={"terms": view.terms, "allowed": view.allowed, "terms_version": held.version},
        )
        await entered(tenancy, tenant, record, "the terms are changed")
    return view
