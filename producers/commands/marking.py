"""Marks an identifier that every gate missed: it becomes a term of the tenant, and every example is searched for it.

The term is PHI. It goes into two sealed records, and into no event, audit entry or error.
"""

from __future__ import annotations

import asyncio

from producers.commands.audited import entered
from producers.commands.requests import random_id
from producers.sources.importing import DEADLINE_SECONDS
from schemas.bus.content import ExampleContent
from schemas.bus.envelope import event_id
from schemas.evidence.audit import Actor
from schemas.objects import object_keys
from schemas.objects.terms import Rescan, Term, TermList
from tenancy.audit.log import AuditRecord
from tenancy.audit.pseudonyms import Pseudonyms
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused, Transient
from tenancy.lifecycle.terms import change_terms, contains
from tenancy.redaction.terms import folded, is_telling
from tenancy.state.open_work import announce
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

MARKED = "identifier.marked"


async def mark(
    tenancy: Tenancy,
    tenant: TenantId,
    example_id: str,
    term: Term,
    *,
    reviewer_id: str,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> None:
    """Put the term on the tenant's list and ask for the search, which curation makes.

    Raises :class:`Refused` for a term that does not stand in the example: it is a typing error, and would withdraw
    others. Interrupted, give it again: a second search finds nothing more.
    """
    if not is_telling(term.text):
        raise Refused("bad-term", "refused: a term has two letters or digits")
    await tenancy.active(tenant)
    store = await tenancy.store(tenant)
    if not await _stands_in(store, example_id, term):
        raise Refused(
            "not-in-the-example", "refused: no text of this example has that term; give it as it stands there"
        )

    def added(held: TermList) -> TermList:
        terms = {folded(known.text): known for known in held.terms} | {folded(term.text): term}
        return held.evolve(terms=tuple(terms.values()))

    scan_id = random_id()
    search = Rescan(term=term, example_id=example_id, reviewer_id=reviewer_id, asked_at=tenancy.clock())
    try:
        async with asyncio.timeout(deadline_seconds):
            await tenancy.active(tenant)
            # The marker before what makes the work; the list before the search: what comes past it is judged with it.
            await announce(tenancy.objects, "rescans", tenant)
            await change_terms(store, added)
            await store.put_record(object_keys.rescan(scan_id), search, if_absent=True)
    except TimeoutError:
        raise Transient("the object store is too slow; the same command, run again, does the rest") from None
    pseudonyms = Pseudonyms.derived(store.keys.data_key)
    record = AuditRecord(
        occurrence=event_id(MARKED, tenant, scan_id),
        kind=MARKED,
        time=search.asked_at,
        actor=Actor(role="reviewer", id=pseudonyms.of("reviewer", reviewer_id)),
        facts={"example": pseudonyms.of("example", example_id), "identifier": str(term.kind)},
    )
    await entered(tenancy, tenant, record, "the identifier is marked")


async def _stands_in(store: TenantStore, example_id: str, term: Term) -> bool:
    async for name in store.list("contents", example_id):
        content, _ = await store.find_record(name, ExampleContent)
        if content is not None and contains(term, content):  # else erased in between
            return True
    return False
