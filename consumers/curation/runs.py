"""Handles approvals and grants in batches: reads state and key once, writes records side by side, counts by one swap.

What a run of approvals takes is what an import brings: approvals of examples that nobody had decided on, of content
that is there, under a consent that was given; and what a replay brings, approvals that were handled before. The run
ends before the first approval that is anything else, and before an example that it has already; that one is handled by
itself. The order is that of :mod:`consumers.curation.handlers`:
content, then the swap that counts, then the records. So wherever a run stops, each of its examples is as its own
handling would have left it, and what comes again finds the example's record, or finds it counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from consumers.curation.batches import NewEntry, counted_in_turn
from consumers.curation.handlers import (
    approved_record,
    count_waiting,
    receive_content,
    require_same_word,
    said_of_consent,
)
from consumers.curation.records import read_consent, read_example, write_consent, write_example
from schemas.bus.envelope import Event
from schemas.bus.events import ConsentGranted, ExampleApproved, ExampleProposed, TrainingRequested
from schemas.bus.outcome import Outcome
from schemas.objects.state import FreshExample, OutboxEntry
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.platform.concurrency import RUN_AT_ONCE, gathered
from tenancy.platform.tracing import continued
from tenancy.storage.tenant_store import TenantStore

ExampleT = TypeVar("ExampleT", ExampleApproved, ExampleProposed)


async def on_examples_approved(run: Sequence[Event[ExampleApproved]], tenancy: Tenancy) -> Sequence[Outcome]:
    """Seal these approved examples and make them eligible, as far as there is nothing to say of them but yes."""
    work = await tenancy.begin_run(run)
    state, store = work.state, work.store
    named = each_once(run)
    granted, expected = await asyncio.gather(
        _granted({event.data.consent_id for event in named if event.data.consent_id is not None}, store),
        gathered((_expected(event, store) for event in named), at_once=RUN_AT_ONCE),
    )
    taken = []
    outcomes = []
    for event, outcome in zip(named, expected, strict=True):
        if outcome is None or (outcome is Outcome.EFFECT and not granted.get(event.data.consent_id, True)):
            break
        outcomes.append(outcome)
        if outcome is Outcome.EFFECT:
            taken.append(event)
    if not outcomes:
        return []
    fresh = [
        (
            FreshExample(example_id=data.example_id, version=data.version, consent_id=data.consent_id),
            _entry_of(event, tenancy),
        )
        for event in taken
        if (data := event.data).consent_id is not None or not state.policy.require_consent
    ]
    if fresh:
        work = await work.swap(counted_in_turn(fresh))
    await gathered((write_example(store, approved_record(event), None) for event in taken), at_once=RUN_AT_ONCE)
    await work.flush()
    return outcomes


async def on_consents_granted(run: Sequence[Event[ConsentGranted]], tenancy: Tenancy) -> Sequence[Outcome]:
    """Record these grants, each of another consent, and count the examples that wait for any of them. The run ends
    before a grant that is not news.
    """
    work = await tenancy.begin_run(run)
    store = work.store
    named: dict[str, Event[ConsentGranted]] = {}
    for event in run:
        consent_id = event.data.consent_id
        if consent_id in named:
            break
        named[consent_id] = event
    found = await gathered(read_consent(store, consent_id) for consent_id in named)
    news = []
    for event, (record, etag) in zip(named.values(), found, strict=True):
        if record.version >= event.data.version:
            break
        news.append((event, record.evolve(**said_of_consent(event, granted=True)), etag))
    await gathered(write_consent(store, record, etag) for _, record, etag in news)
    waiting = await gathered(_is_waited_for(store, record.consent_id) for _, record, _ in news)
    for (event, record, _), is_waited_for in zip(news, waiting, strict=True):
        if is_waited_for:
            await count_waiting(replace(work, event_id=event.id), record.consent_id)
    await work.flush()
    return [Outcome.EFFECT] * len(news)


async def _is_waited_for(store: TenantStore, consent_id: str) -> bool:
    async for _ in store.list("consents", consent_id, "waiting"):
        return True
    return False


def each_once(run: Sequence[Event[ExampleT]]) -> list[Event[ExampleT]]:
    """Up to the first example that comes again."""
    found: dict[str, Event[ExampleT]] = {}
    for event in run:
        if event.data.example_id in found:
            break
        found[event.data.example_id] = event
    return list(found.values())


async def _granted(consents: set[str], store: TenantStore) -> Mapping[str | None, bool]:
    names = sorted(consents)
    found = await gathered(read_consent(store, name) for name in names)
    return {name: record.granted for name, (record, _) in zip(names, found, strict=True)}


async def _expected(event: Event[ExampleApproved], store: TenantStore) -> Outcome | None:
    """Foresees the outcome of an approval whose consent is granted: EFFECT for an undecided example whose content is
    stored, NOOP_DUPLICATE for an approval that was handled before. None: it has to be handled by itself.
    """
    data = event.data
    if data.version > 1:
        return None
    record, _ = await read_example(store, data.example_id)
    try:
        if record is None:
            await receive_content(data, store)
            return Outcome.EFFECT
        if record.event_id != event.id:
            return None
        require_same_word(record, data.reviewer_id, data.consent_id, data.content.commitment)
    except Refused:
        return None
    return Outcome.NOOP_DUPLICATE


def _entry_of(event: Event, tenancy: Tenancy) -> NewEntry:
    """Make the outbox entry for a batch that this approval completes, in the approval's trace."""

    def entry(requested: TrainingRequested) -> OutboxEntry:
        with continued(event.traceparent):
            return tenancy.outbox.entry(requested, event.id)

    return entry
