"""Proposes an edited text as the next version of an example: it passes the gate again and voids earlier reviews."""

from __future__ import annotations

import asyncio

from producers.queries.proposals import proposed_text
from producers.sources.proposing import Proposer, public_key_of
from producers.sources.source import Candidate
from producers.sources.source_key import SourceKey
from schemas.bus.content import ChatMessage
from schemas.bus.events import ExampleProposed
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.lifecycle.terms import tenant_terms
from tenancy.redaction.at_first_use import GateSource
from tenancy.tenant_id import TenantId


async def edit(
    tenancy: Tenancy,
    tenant: TenantId,
    example_id: str,
    *,
    version: int,
    editor_id: str,
    messages: tuple[ChatMessage, ...],
    key: SourceKey,
    gate: GateSource,
) -> ExampleProposed:
    """Propose the messages as the version after ``version``, with the editor as its author.

    Raises :class:`Refused` where that version does not wait for reviewers, or nothing was changed. Of two edits of one
    version the first stands.
    """
    found = await proposed_text(tenancy, tenant, example_id)
    if found.proposal.version != version:
        why = f"refused: version {found.proposal.version} waits for reviewers, and not {version}; look at it first"
        raise Refused("another-version", why)
    if messages == found.messages:
        raise Refused("no-edit", "refused: nothing was changed")
    candidate = Candidate(
        messages=messages,
        natural_key="",
        version=version + 1,
        example_id=example_id,
        author_id=editor_id,
        consent_id=found.proposal.consent_id,
    )
    public_key = public_key_of(await tenancy.keys.public_key(tenant))
    proposer = Proposer(
        tenant=tenant,
        public_key=public_key,
        key=key,
        gate=await asyncio.to_thread(gate),
        publisher=tenancy.publisher,
        source=tenancy.outbox.source,
        clock=tenancy.clock,
        terms=await tenant_terms(await tenancy.store(tenant)),
    )
    return await proposer.propose("edit", candidate)
