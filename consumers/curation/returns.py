"""Sends an approved example back to review, in which the gate found identifiers when a training set was frozen.

The text is proposed again as the next version, so that everything after it goes as with any proposal: reviewers
approve, reject or edit it. The approved version is over for good; its text goes once the next version has it.

The order is text, mark, proposal, record: the record says that all is there, and until it does the event comes again.
"""

from __future__ import annotations

from consumers.curation.handlers import finish_interrupted, uncount
from consumers.curation.records import mark_open, read_example, read_proposal, write_example, write_proposal
from schemas.base.integers import GREATEST
from schemas.bus.content import ExampleContent
from schemas.bus.envelope import Event
from schemas.bus.events import ExampleReturned
from schemas.bus.outcome import Outcome
from schemas.bus.redaction import GateVerdict
from schemas.objects import object_keys
from schemas.objects.curation import ExampleRecord
from schemas.objects.proposals import ProposalRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.lifecycle.example_texts import Texts
from tenancy.storage.tenant_store import TenantStore


async def on_example_returned(event: Event[ExampleReturned], tenancy: Tenancy) -> Outcome:
    """Take the version out, and have its text reviewed again. Stale once anything else was decided on the example."""
    data = event.data
    work = await tenancy.begin(event)
    record, etag = await read_example(work.store, data.example_id)
    if record is None:
        raise Refused("unknown-example", "refused: nobody has approved this example")
    if record.event_id == event.id:
        had_stopped = await finish_interrupted(work, record)
        return Outcome.EFFECT if had_stopped else Outcome.NOOP_DUPLICATE
    said = "approved", data.version, data.commitment
    if (record.status, record.version, record.commitment) != said:
        return Outcome.NOOP_STALE
    verdict = GateVerdict(gate=data.redaction.gate, version=data.redaction.version, verdict="redacted")
    await _propose_again(event, work.store, record, verdict)
    returned = record.evolve(status="returned", decided_at=event.time, event_id=event.id, gate=verdict)
    await write_example(work.store, returned, etag)
    await uncount(work, data.example_id)
    await Texts(work.outbox.states, work.store).drop(returned)
    return Outcome.EFFECT


async def _propose_again(
    event: Event[ExampleReturned], store: TenantStore, record: ExampleRecord, verdict: GateVerdict
) -> None:
    """Put the text into the queue of reviewers as the next version; not where a later one is there already, whose
    approval or review is on its way.
    """
    data, version = event.data, record.version + 1
    held, etag = await read_proposal(store, data.example_id)
    if version > GREATEST or (held is not None and held.version >= version):
        return
    content, _ = await store.find_record(object_keys.content(data.example_id, data.version), ExampleContent)
    if content is None:
        raise Refused("no-content", "refused: the text of the approved version is not there")
    if not await store.put_if_absent(object_keys.content(data.example_id, version), content):
        there, _ = await store.get_record(object_keys.content(data.example_id, version), ExampleContent)
        if there.commitment() != content.commitment():
            return
    again = ProposalRecord(
        example_id=data.example_id,
        version=version,
        commitment=data.commitment,
        event_id=event.id,
        source="freeze",
        consent_id=record.consent_id,
        author_id=held.author_id if held is not None and held.version == record.version else None,
        proposed_at=event.time,
        redaction=data.redaction,
        gate=verdict,
    )
    await mark_open(store, again, held)
    await write_proposal(store, again, etag)
