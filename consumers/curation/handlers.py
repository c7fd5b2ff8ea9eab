"""Handles curation: approves, rejects and withdraws examples, grants and revokes consent.

Each is a function of an event and the tenancy's ports. The highest version of a decision wins and, of two decisions on
one version, the one that forbids: whichever came first. Of two that are the same but for what they say beside it, the
first stands, and the second is refused. A withdrawal is for ever. Nothing here reads more than the one
example, the one consent and the tenant's state, so that an approval costs the same however many came before it.
"""

from __future__ import annotations

from consumers.curation import withdrawals
from consumers.curation.batches import clear_suspended, counted, discounted
from consumers.curation.records import read_consent, read_example, unmark_decided, write_consent, write_example
from schemas.bus.content import ClaimCheck, ExampleContent
from schemas.bus.envelope import Event
from schemas.bus.events import ConsentGranted, ConsentRevoked, ExampleApproved, ExampleRejected, ExampleWithdrawn
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.objects.curation import ExampleRecord, WaitingExample
from schemas.objects.state import FreshExample
from tenancy.bootstrap import Tenancy
from tenancy.errors import Contradicted
from tenancy.lifecycle.contents import received, seal_once
from tenancy.lifecycle.example_texts import Texts
from tenancy.platform.concurrency import gathered
from tenancy.state.tenant_work import TenantWork
from tenancy.storage.tenant_store import TenantStore

WAITING_AT_ONCE = 32
"""Examples that are counted by one swap."""


async def on_example_approved(event: Event[ExampleApproved], tenancy: Tenancy) -> Outcome:
    """Seal the approved example and make it eligible, if there is consent."""
    data = event.data
    work = await tenancy.begin(event)
    record, etag = await read_example(work.store, data.example_id)
    if record is not None:
        if record.event_id == event.id:
            require_same_word(record, data.reviewer_id, data.consent_id, data.content.commitment)
            # The record exists, so the example was counted; an earlier text may be there, what the swap owes be unpaid.
            await Texts(work.outbox.states, work.store).drop(record)
            await work.flush()
            return Outcome.NOOP_DUPLICATE
        if record.status == "withdrawn" or record.version >= data.version:
            if record.status == "approved":
                await Texts(work.outbox.states, work.store).drop(record)
            else:
                await finish_interrupted(work, record)
            return Outcome.NOOP_STALE
    await receive_content(data, work.store)
    approved = approved_record(event)
    if await _has_consent(work, data):
        fresh = FreshExample(example_id=data.example_id, version=data.version, consent_id=data.consent_id)
        work = await work.swap(counted([fresh], work.entry))
    await write_example(work.store, approved, etag)
    if record is not None or data.version > 1:  # earlier versions may have been proposed only
        await Texts(work.outbox.states, work.store).drop(approved)
    await work.flush()
    return Outcome.EFFECT


async def on_example_rejected(event: Event[ExampleRejected], tenancy: Tenancy) -> Outcome:
    """Record the rejection; the example is not eligible in this or any earlier version, whoever approved it."""
    data = event.data
    work = await tenancy.begin(event)
    record, etag = await read_example(work.store, data.example_id)
    if record is not None:
        if record.event_id == event.id:
            had_stopped = await finish_interrupted(work, record)
            require_same_word(record, data.reviewer_id, reason_code=data.reason_code)
            return Outcome.EFFECT if had_stopped else Outcome.NOOP_DUPLICATE
        if record.status == "withdrawn" or record.version > data.version:
            return Outcome.NOOP_STALE
    rejected = ExampleRecord(
        example_id=data.example_id,
        version=data.version,
        status="rejected",
        decided_at=event.time,
        event_id=event.id,
        reviewer_id=data.reviewer_id,
        reason_code=data.reason_code,
    )
    await write_example(work.store, rejected, etag)
    if (record is not None and record.status == "approved") or _is_counted(work, data.example_id):
        await uncount(work, data.example_id)
    await Texts(work.outbox.states, work.store).drop(rejected)
    return Outcome.EFFECT


async def on_example_withdrawn(event: Event[ExampleWithdrawn], tenancy: Tenancy) -> Outcome:
    """Take the example out for ever and its text with it. Also before any approval of it was seen."""
    data = event.data
    work = await tenancy.begin(event)
    record, etag = await read_example(work.store, data.example_id)
    is_repeat = record is not None and record.status == "withdrawn"
    if record is None or not is_repeat:
        record = ExampleRecord(
            example_id=data.example_id,
            version=record.version if record else 0,
            status="withdrawn",
            decided_at=event.time,
            event_id=event.id,
            commitment=record.commitment if record else None,
            reviewer_id=record.reviewer_id if record else None,
            consent_id=record.consent_id if record else None,
            reason_code=data.reason_code,
        )
        await write_example(work.store, record, etag)
    # Nothing was trained with an example that nobody had decided on.
    is_owed = record.version > 0 and not (is_repeat and await withdrawals.is_noted(work.store, event))
    is_counted = _is_counted(work, data.example_id)
    if is_owed or is_counted:
        await uncount(work, data.example_id)
    if is_owed:
        await withdrawals.note(work, event)
    await Texts(work.outbox.states, work.store).drop(record)
    await unmark_decided(work.store, record)
    if record.reason_code != data.reason_code:
        raise Contradicted  # in its reason; it is withdrawn all the same
    return Outcome.EFFECT if is_owed or is_counted or not is_repeat else Outcome.NOOP_DUPLICATE


async def on_consent_granted(event: Event[ConsentGranted], tenancy: Tenancy) -> Outcome:
    """Record the grant and count the examples that were approved while they waited for it."""
    data = event.data
    work = await tenancy.begin(event)
    record, etag = await read_consent(work.store, data.consent_id)
    is_repeat = record.event_id == event.id
    if record.version >= data.version and not is_repeat:
        return Outcome.NOOP_STALE
    if not is_repeat:
        record = record.evolve(**said_of_consent(event, granted=True))
        await write_consent(work.store, record, etag)
    counted_any = await count_waiting(work, data.consent_id)
    return Outcome.NOOP_DUPLICATE if is_repeat and not counted_any else Outcome.EFFECT


async def count_waiting(work: TenantWork, consent_id: str) -> bool:
    """Count the examples that wait for this consent, some at a time: there may be more than a handling has time for.

    A mark goes once its example is counted, so that a redelivery goes on where this one stopped.
    """
    store = work.store
    names = [relative async for relative in store.list("consents", consent_id, "waiting")]
    for start in range(0, len(names), WAITING_AT_ONCE):
        marks = names[start : start + WAITING_AT_ONCE]
        examples = await gathered(read_example(store, mark.rpartition("/")[2]) for mark in marks)
        fresh = [
            FreshExample(example_id=example.example_id, version=example.version, consent_id=consent_id)
            for example, _ in examples
            if example is not None and example.status == "approved" and example.consent_id == consent_id
        ]
        work = await work.swap(counted(fresh, work.entry))
        await gathered(store.erase(mark) for mark in marks)
        work = await work.flush()
    await work.flush()
    return bool(names)


async def on_consent_revoked(event: Event[ConsentRevoked], tenancy: Tenancy) -> Outcome:
    """Record the revocation; no example under this consent is eligible any more, whoever granted this version."""
    data = event.data
    work = await tenancy.begin(event)
    record, etag = await read_consent(work.store, data.consent_id)
    is_repeat = record.event_id == event.id
    if record.version > data.version:
        return Outcome.NOOP_STALE
    if is_repeat and await withdrawals.is_noted(work.store, event):
        return Outcome.NOOP_DUPLICATE
    if not is_repeat:
        await write_consent(work.store, record.evolve(**said_of_consent(event, granted=False)), etag)
    work = await work.swap(discounted(event.id, lambda held: held.consent_id == data.consent_id, suspend=True))
    suspended = [held for held in work.state.curation.suspended if held.consent_id == data.consent_id]
    await gathered(_wait_for_consent(work.store, held.example_id, data.consent_id) for held in suspended)
    await work.swap(clear_suspended(data.consent_id))
    await withdrawals.note(work, event)
    return Outcome.EFFECT


def require_same_word(
    record: ExampleRecord,
    reviewer_id: str,
    consent_id: str | None = None,
    commitment: str | None = None,
    *,
    reason_code: str | None = None,
) -> None:
    """Raises :class:`Contradicted` for another decision on the version whose decision was recorded."""
    said = reviewer_id, consent_id, commitment, reason_code
    if (record.reviewer_id, record.consent_id, record.commitment, record.reason_code) != said:
        raise Contradicted


def approved_record(event: Event[ExampleApproved]) -> ExampleRecord:
    data = event.data
    return ExampleRecord(
        example_id=data.example_id,
        version=data.version,
        status="approved",
        decided_at=event.time,
        event_id=event.id,
        reviewer_id=data.reviewer_id,
        consent_id=data.consent_id,
        commitment=data.content.commitment,
        gate=data.gate,
        stated_by=data.stated_by,
    )


async def receive_content(data: ExampleApproved, store: TenantStore) -> None:
    """Make sure that the approved text lies sealed where the record will point, and that it is what was approved."""
    location = object_keys.content(data.example_id, data.version)
    own = ClaimCheck(example_id=data.example_id, version=data.version)
    content = await received(store, location, ExampleContent, data.content, own, otherwise="the reviewer approved")
    if data.content.reference != own:
        await seal_once(store, location, content)


def said_of_consent(event: Event[ConsentGranted | ConsentRevoked], *, granted: bool) -> dict[str, object]:
    """What a consent's record says after this event."""
    data = event.data
    until = data.until if isinstance(data, ConsentGranted) else None
    return {
        "version": data.version,
        "granted": granted,
        "until": until,
        "event_id": event.id,
        "decided_at": event.time,
    }


async def _has_consent(work: TenantWork, data: ExampleApproved) -> bool:
    """Whether the example may count now; if it lacks only the grant, it is noted to wait for it."""
    if data.consent_id is None:
        return not work.state.policy.require_consent
    if (await read_consent(work.store, data.consent_id))[0].granted:
        return True
    await _wait_for_consent(work.store, data.example_id, data.consent_id)
    # A grant that was recorded in between, by another process, may have listed who waits before this one did.
    is_granted = (await read_consent(work.store, data.consent_id))[0].granted
    if is_granted:
        await work.store.erase(object_keys.waiting_example(data.consent_id, data.example_id))
    return is_granted


async def _wait_for_consent(store: TenantStore, example_id: str, consent_id: str) -> None:
    waiting = WaitingExample(example_id=example_id, consent_id=consent_id)
    await store.put_if_absent(object_keys.waiting_example(consent_id, example_id), waiting)


async def finish_interrupted(work: TenantWork, forbidding: ExampleRecord) -> bool:
    """Finish a rejection or withdrawal that stopped behind its record. A text that is still there says that it may
    have: texts are dropped last, by whoever finds them. So does an example that counts. False when neither was there.
    """
    texts = Texts(work.outbox.states, work.store)
    if not (_is_counted(work, forbidding.example_id) or await texts.dead(forbidding)):
        return False
    await uncount(work, forbidding.example_id)
    await texts.drop(forbidding)
    return True


def _is_counted(work: TenantWork, example_id: str) -> bool:
    """Its record may not say so: an approval that was passed over behind the count has none."""
    return any(held.example_id == example_id for held in work.state.curation.fresh)


async def uncount(work: TenantWork, example_id: str) -> None:
    """After the record: see :mod:`consumers.curation.withdrawals`."""
    await work.swap(discounted(work.event_id, lambda held: held.example_id == example_id))
