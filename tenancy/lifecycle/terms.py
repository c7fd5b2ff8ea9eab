"""Reads and changes a tenant's own terms: one sealed object, changed by compare-and-swap.

It is read at each use and kept nowhere else, so that a purge has one place to empty.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from schemas.bus.content import ExampleContent
from schemas.objects import object_keys
from schemas.objects.terms import MOST_TERMS, Term, TermList
from tenancy.errors import Refused
from tenancy.redaction.gate import UnionGate
from tenancy.redaction.terms import TenantTerms
from tenancy.storage.cas_record import CasRecord
from tenancy.storage.tenant_store import TenantStore

_ONLY_TERMS = UnionGate("tenant-terms", "1", ())

TermChange = Callable[[TermList], TermList]


async def read_term_list(store: TenantStore) -> tuple[TermList, str | None]:
    """The list and its ETag; an empty one and None where there is none yet."""
    held, etag = await store.find_record(object_keys.terms(), TermList)
    return held or TermList(), etag


async def tenant_terms(store: TenantStore) -> TenantTerms:
    """The terms as a gate takes them."""
    held, _ = await read_term_list(store)
    return TenantTerms({term.text: term.kind for term in held.terms}, frozenset(held.allowed), held.version)


def contains(term: Term, content: ExampleContent) -> bool:
    """Whether the term stands in any turn, in whatever case, outside of placeholders. Blocks for a moment."""
    wanted = TenantTerms({term.text: term.kind})
    return any(_ONLY_TERMS.scan(message.content, terms=wanted) for message in content.messages)


async def change_terms(store: TenantStore, change: TermChange) -> TermList:
    """Swap the list for a changed one, under a new version; no write where nothing changes. The caller has seen that
    the tenant is not fenced. Raises :class:`Refused` for a list that is too long, and :class:`ContendedState`.
    """

    def numbered(held: TermList) -> TermList:
        changed = change(held)
        if changed == held:
            return held
        if max(len(changed.terms), len(changed.allowed)) > MOST_TERMS:
            raise Refused("too-many-terms", f"refused: a tenant has at most {MOST_TERMS} terms; remove some")
        return changed.evolve(version=secrets.token_hex(6))

    record = CasRecord(
        lambda: read_term_list(store),
        lambda terms, etag: store.put_record(object_keys.terms(), terms, if_absent=etag is None, if_match=etag),
    )
    return (await record.swap(numbered)).record
