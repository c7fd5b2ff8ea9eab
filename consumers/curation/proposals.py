"""Takes proposals: opens them, runs the gate again, and seals them for review.

The order is text, mark, record: a record says that all is there, and until there is one the event comes again. A text
lies where that of an approved example lies, so whatever erases the texts of an example erases it too: rejection,
withdrawal, a later version's decision, the purge. A decision that came in between is looked for after the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

from consumers.curation.records import is_decided, read_example, read_proposal, write_proposal
from consumers.curation.reviews import announce_decision, decide_if_agreed
from schemas.bus.content import ExampleContent
from schemas.bus.envelope import Event
from schemas.bus.events import ExampleProposed
from schemas.bus.outcome import Outcome
from schemas.bus.redaction import GateVerdict
from schemas.objects import object_keys
from schemas.objects.proposals import OpenProposal, ProposalRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import Contradicted, PreconditionFailed, Refused
from tenancy.lifecycle.example_texts import Texts
from tenancy.lifecycle.terms import tenant_terms
from tenancy.redaction.at_first_use import GateSource
from tenancy.redaction.terms import TenantTerms
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId


def on_example_proposed(gate: GateSource) -> Callable[[Event, Tenancy], Awaitable[Outcome]]:
    """Make the handler of proposals, which has texts judged by this gate."""

    async def handle(event: Event, tenancy: Tenancy) -> Outcome:
        """Seal the proposed text for review, unless the gate still finds identifiers in it."""
        data = cast(ExampleProposed, event.data)
        tenant = TenantId(event.subject)
        snapshot, store = await tenancy.active(tenant), await tenancy.store(tenant)
        decided, _ = await read_example(store, data.example_id)
        if is_decided(decided, data.version):
            await Texts(tenancy.states, store).drop(decided)
            return Outcome.NOOP_STALE
        held, etag = await read_proposal(store, data.example_id)
        if held is not None and held.version > data.version:
            return Outcome.NOOP_STALE
        if held is not None and held.version == data.version:
            _require_same_word(held, data)
            has_decided = await decide_if_agreed(tenancy, snapshot, store, held, etag, decided)
            return Outcome.EFFECT if has_decided else Outcome.NOOP_DUPLICATE
        if held is not None and held.decision is not None:
            # Whoever decided the earlier version may have died before it announced that.
            await announce_decision(tenancy, store, held, decided)
        content = await _opened(data, store)
        verdict = await judged(gate, content, await tenant_terms(store))
        await _seal(data, content, store)
        record = ProposalRecord(
            example_id=data.example_id,
            version=data.version,
            commitment=data.content.commitment,
            event_id=event.id,
            source=data.source,
            author_id=data.author_id,
            consent_id=data.consent_id,
            provenance_ids=data.provenance_ids,
            proposed_at=event.time,
            redaction=data.redaction,
            gate=verdict,
        )
        etag = await write_proposal(store, record, etag)
        decided, _ = await read_example(store, data.example_id)
        if is_decided(decided, data.version):
            await Texts(tenancy.states, store).drop(decided)
            return Outcome.NOOP_STALE
        await decide_if_agreed(tenancy, snapshot, store, record, etag, decided)
        return Outcome.EFFECT

    return handle


async def judged(gate: GateSource, content: ExampleContent, terms: TenantTerms) -> GateVerdict:
    """Run the gate on a text that was redacted before. Raises :class:`Refused` where it still finds an identifier."""
    report = (await asyncio.to_thread(lambda: gate().redact(content.messages, terms=terms))).report
    if report.verdict != "clean":
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(report.counts.items()))
        raise Refused("identifiers-found", f"refused: the redaction gate finds identifiers in it ({kinds})")
    return GateVerdict.of(report)


async def _opened(data: ExampleProposed, store: TenantStore) -> ExampleContent:
    content = store.keys.decrypt_inline(data.content.reference.jwe, ExampleContent)
    if content.commitment() != data.content.commitment:
        raise Refused("commitment-mismatch", "refused: the content is not what the source committed to")
    return content


async def _seal(data: ExampleProposed, content: ExampleContent, store: TenantStore) -> None:
    location = object_keys.content(data.example_id, data.version)
    try:
        await store.put_record(location, content, if_absent=True)
    except PreconditionFailed:
        sealed, _ = await store.get_record(location, ExampleContent)
        if sealed.commitment() != data.content.commitment:
            raise Refused("content-exists", "refused: this version has other content already") from None
    mark = OpenProposal(example_id=data.example_id)
    with suppress(PreconditionFailed):
        await store.put_record(object_keys.open_proposal(data.example_id), mark, if_absent=True)


def _require_same_word(held: ProposalRecord, data: ExampleProposed) -> None:
    """Raises :class:`Contradicted` for another proposal under the id of the one that was recorded."""
    said = data.source, data.author_id, data.consent_id, data.content.commitment
    if (held.source, held.author_id, held.consent_id, held.commitment) != said:
        raise Contradicted
