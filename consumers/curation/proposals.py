"""Takes proposals: opens them, runs the gate again, and seals them for review.

The order is text, mark, record: a record says that all is there, and until there is one the event comes again. A text
lies where that of an approved example lies, so whatever erases the texts of an example erases it too: rejection,
withdrawal, a later version's decision, the purge. A decision that came in between is looked for after the record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

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
from tenancy.errors import Contradicted
from tenancy.lifecycle.contents import received, seal_once
from tenancy.lifecycle.example_texts import Texts
from tenancy.lifecycle.terms import tenant_terms
from tenancy.redaction.at_first_use import GateSource
from tenancy.redaction.judging import found_clean
from tenancy.storage.tenant_store import TenantStore


def on_example_proposed(gate: GateSource) -> Callable[[Event[ExampleProposed], Tenancy], Awaitable[Outcome]]:
    """Make the handler of proposals, which has texts judged by this gate."""

    async def handle(event: Event[ExampleProposed], tenancy: Tenancy) -> Outcome:
        """Seal the proposed text for review, unless the gate still finds identifiers in it."""
        data = event.data
        work = await tenancy.begin(event)
        store = work.store
        decided, _ = await read_example(store, data.example_id)
        if is_decided(decided, data.version):
            await Texts(work.outbox.states, store).drop(decided)
            return Outcome.NOOP_STALE
        held, etag = await read_proposal(store, data.example_id)
        if held is not None and held.version > data.version:
            return Outcome.NOOP_STALE
        if held is not None and held.version == data.version:
            _require_same_word(held, data)
            has_decided = await decide_if_agreed(work, held, etag, decided)
            return Outcome.EFFECT if has_decided else Outcome.NOOP_DUPLICATE
        if held is not None and held.decision is not None:
            # Whoever decided the earlier version may have died before it announced that.
            await announce_decision(work, held, decided)
        content = await _opened(data, store)
        verdict = GateVerdict.of(await found_clean(gate, content.messages, await tenant_terms(store)))
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
            await Texts(work.outbox.states, store).drop(decided)
            return Outcome.NOOP_STALE
        await decide_if_agreed(work, record, etag, decided)
        return Outcome.EFFECT

    return handle


async def _opened(data: ExampleProposed, store: TenantStore) -> ExampleContent:
    location = object_keys.content(data.example_id, data.version)
    return await received(store, location, ExampleContent, data.content, None, otherwise="the source committed to")


async def _seal(data: ExampleProposed, content: ExampleContent, store: TenantStore) -> None:
    await seal_once(store, object_keys.content(data.example_id, data.version), content)
    mark = OpenProposal(example_id=data.example_id)
    await store.put_if_absent(object_keys.open_proposal(data.example_id), mark)


def _require_same_word(held: ProposalRecord, data: ExampleProposed) -> None:
    """Raises :class:`Contradicted` for another proposal under the id of the one that was recorded."""
    said = data.source, data.author_id, data.consent_id, data.content.commitment
    if (held.source, held.author_id, held.consent_id, held.commitment) != said:
        raise Contradicted
