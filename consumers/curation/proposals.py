"""Takes proposals: opens them, runs the gate again, and seals them for review.

The order is text, mark, record: a record says that all is there, and until there is one the event comes again. A text
lies where that of an approved example lies, so whatever erases the texts of an example erases it too: rejection,
withdrawal, a later version's decision, the purge. A decision that came in between is looked for after the record.

What a run takes is what a source brings: proposals of examples that nobody has spoken of, in whose texts the gate finds
nothing. It ends before the first one that is anything else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from consumers.curation.records import (
    is_decided,
    mark_open,
    read_example,
    read_proposal,
    unmark_decided,
    write_proposal,
)
from consumers.curation.reviews import announce_decision, decide_if_agreed
from consumers.curation.runs import each_once
from schemas.bus.content import ExampleContent
from schemas.bus.envelope import Event
from schemas.bus.events import ExampleProposed
from schemas.bus.outcome import Outcome
from schemas.bus.redaction import GateVerdict
from schemas.objects import object_keys
from schemas.objects.proposals import ProposalRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import Contradicted, Refused
from tenancy.lifecycle.contents import received, seal_once
from tenancy.lifecycle.example_texts import Texts
from tenancy.lifecycle.terms import tenant_terms
from tenancy.platform.concurrency import gathered
from tenancy.redaction.at_first_use import GateSource
from tenancy.redaction.judging import found_clean
from tenancy.redaction.terms import TenantTerms
from tenancy.state.tenant_work import TenantWork
from tenancy.storage.tenant_store import TenantStore

RUN_OF_TEXTS = 8
"""By then the requests that a run spares are next to nothing beside the gate."""
JUDGING_SECONDS = 0.2
"""After so long a run judges no further text, since processor time is what all tenants share: it takes one of each
where many are at work.
"""


def on_example_proposed(gate: GateSource) -> Callable[[Event[ExampleProposed], Tenancy], Awaitable[Outcome]]:
    """Make the handler of proposals, which has texts judged by this gate."""

    async def handle(event: Event[ExampleProposed], tenancy: Tenancy) -> Outcome:
        """Seal the proposed text for review, unless the gate still finds identifiers in it."""
        data = event.data
        work = await tenancy.begin(event)
        store = work.store
        decided, _ = await read_example(store, data.example_id)
        if is_decided(decided, data.version):
            await unmark_decided(store, decided)
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
        verdict = await _verdict(gate, content, await tenant_terms(store))
        return await _enter(work, event, content, verdict, held, etag)

    return handle


def on_examples_proposed(
    gate: GateSource,
) -> Callable[[Sequence[Event[ExampleProposed]], Tenancy], Awaitable[Sequence[Outcome]]]:
    """Make the handler of runs of proposals."""

    async def handle(run: Sequence[Event[ExampleProposed]], tenancy: Tenancy) -> Sequence[Outcome]:
        """Seal these texts for review, as far as there is nothing to say of them but yes."""
        work = await tenancy.begin_run(run)
        terms = await tenant_terms(work.store)
        taken: list[tuple[Event[ExampleProposed], ExampleContent, GateVerdict]] = []
        due = time.monotonic() + JUDGING_SECONDS
        for event in each_once(run):
            content = await _news(event, work.store)
            if content is None:
                break
            try:
                taken.append((event, content, await _verdict(gate, content, terms)))
            except Refused:
                break
            if time.monotonic() > due:
                break
        return await gathered(_enter(work, *one, None, None) for one in taken)

    return handle


async def _news(event: Event[ExampleProposed], store: TenantStore) -> ExampleContent | None:
    """The proposed text, where nothing is known of the example yet. None: the event has to be handled by itself."""
    example_id = event.data.example_id
    (decided, _), (held, _) = await asyncio.gather(read_example(store, example_id), read_proposal(store, example_id))
    if decided is not None or held is not None:
        return None
    try:
        return await _opened(event.data, store)
    except Refused:
        return None


async def _verdict(gate: GateSource, content: ExampleContent, terms: TenantTerms) -> GateVerdict:
    return GateVerdict.of(await found_clean(gate, content.messages, terms))


async def _enter(
    work: TenantWork,
    event: Event[ExampleProposed],
    content: ExampleContent,
    verdict: GateVerdict,
    held: ProposalRecord | None,
    etag: str | None,
) -> Outcome:
    """Seal a text that was found clean, and record it over ``held``, which ``etag`` is of."""
    data, store = event.data, work.store
    await seal_once(store, object_keys.content(data.example_id, data.version), content)
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
    await mark_open(store, record, held)
    etag = await write_proposal(store, record, etag)
    decided, _ = await read_example(store, data.example_id)
    if is_decided(decided, data.version):
        await store.erase(record.mark)
        await Texts(work.outbox.states, store).drop(decided)
        return Outcome.NOOP_STALE
    await decide_if_agreed(work, record, etag, decided)
    return Outcome.EFFECT


async def _opened(data: ExampleProposed, store: TenantStore) -> ExampleContent:
    location = object_keys.content(data.example_id, data.version)
    return await received(store, location, ExampleContent, data.content, None, otherwise="the source committed to")


def _require_same_word(held: ProposalRecord, data: ExampleProposed) -> None:
    """Raises :class:`Contradicted` for another proposal under the id of the one that was recorded."""
    said = data.source, data.author_id, data.consent_id, data.content.commitment
    if (held.source, held.author_id, held.consent_id, held.commitment) != said:
        raise Contradicted
