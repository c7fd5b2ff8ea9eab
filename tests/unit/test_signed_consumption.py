"""What a consumer believes: signed events of whoever may publish them, and unsigned ones as long as it must."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from consumers.runtime.dispatch import Dispatcher, Handler
from consumers.runtime.requeue import copy_for
from consumers.runtime.signatures import Signatures
from schemas.bus import events
from schemas.bus.dead_letters import DETAIL, REASON
from schemas.bus.envelope import Event
from schemas.bus.events import EVENT_TYPES
from schemas.bus.outcome import Outcome
from schemas.bus.publishers import ONLY_OURS, OUTSIDE, PUBLISHES
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from schemas.tenant.policy import TenantPolicy
from tenancy.bus import RecordingPublisher
from tenancy.evidence.event_signatures import EventSigner, EventVerifier
from tenancy.evidence.keys import LocalKey
from tenancy.platform.clock import utc_now
from tenancy.storage.memory import MemoryObjectStore
from tests.fixtures.event_keys import EventKeys, event_key, signature_header, signed_record, signer_of
from tests.fixtures.records import record_of
from tests.unit.runtime_parts import PURGE, TELEMETRY, Raising, Result, a_tenancy, delivered
from tests.unit.test_runs import Stand, granted

KEYS = EventKeys()
CLINIC, STRANGER = LocalKey.generate(), LocalKey.generate()
TRUST = KEYS.trust(event_key(CLINIC, "clinic-7", tenants=("t1",), event_types=("sano.consent.granted",)))
COUNTING = Signatures(EventVerifier(TRUST))
REFUSING = Signatures(EventVerifier(TRUST), are_required=True)
BOTH = pytest.mark.parametrize("signatures", [COUNTING, REFUSING], ids=["counting", "refusing"])
GRANT = events.ConsentGranted(consent_id="c", version=1)


def event(data: events.EventData = GRANT, tenant: str = "t1") -> Event:
    return Event(subject=tenant, data=data, time=utc_now(), source="/test")


def signed(made: Event, signer: EventSigner | str = "import", **changed: Any) -> Any:
    return signed_record(made, KEYS.signer(signer) if isinstance(signer, str) else signer, **changed)


@dataclass
class Counted:
    """The counter of unsigned events that were taken."""

    by_type: list[tuple[str, int]] = field(default_factory=list)

    def add(self, amount: int, labels: dict[str, str]) -> None:
        self.by_type.append((labels["type"], amount))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    made = Counted()
    monkeypatch.setattr("tests.unit.runtime_parts.TELEMETRY", replace(TELEMETRY, unsigned=made))  # type: ignore[arg-type]
    return made


def reasons(result: Result) -> list[str]:
    return [(dict(letter.headers)[REASON] or b"").decode() for letter in result.letters]


async def handled(record: Any, signatures: Signatures, **parts: Any) -> tuple[Result, int]:
    """And how often the handler was called."""
    handler = Raising([])
    return await delivered(handler, record, signatures=signatures, **parts), handler.calls


async def with_policy(policy: TenantPolicy) -> MemoryObjectStore:
    objects = MemoryObjectStore()
    await a_tenancy(RecordingPublisher(), objects).states.create(TenantState(tenant="t1", nonce="n", policy=policy))
    return objects


def test_the_types_that_only_ours_publish_are_those_that_no_outside_publisher_has() -> None:
    outside = {model for who in OUTSIDE for model in PUBLISHES[who]}
    assert outside
    assert set(ONLY_OURS) == set(EVENT_TYPES.values()) - outside
    assert {events.TenantChurned, events.PurgeRequested, events.TenantOnboarded} <= set(ONLY_OURS)


@BOTH
async def test_a_signed_event_is_handled_and_not_counted(signatures: Signatures, counted: Counted) -> None:
    for record, service in ((signed(event()), "curation"), (signed(event(PURGE), "operators"), "purge")):
        result, calls = await handled(record, signatures, service=service)
        assert (result.acknowledged, calls, result.outcomes, result.letters) == (True, 1, [Outcome.EFFECT], [])
    assert counted.by_type == []


async def test_an_unsigned_event_of_ours_is_counted_until_the_upgrade_is_over_and_then_refused(
    counted: Counted,
) -> None:
    record = record_of(event(PURGE))
    result, calls = await handled(record, COUNTING, service="purge")
    assert (calls, result.letters, counted.by_type) == (1, [], [(PURGE.type, 1)])
    result, calls = await handled(record, REFUSING, service="purge")
    assert (result.acknowledged, calls, result.outcomes) == (True, 0, [Outcome.DEAD_LETTERED])
    assert (reasons(result), len(counted.by_type)) == (["unsigned"], 1)


@pytest.mark.parametrize("signatures", [COUNTING, REFUSING], ids=["counting", "refusing"])
@pytest.mark.parametrize("asks", [None, True, False])
async def test_an_unsigned_decision_is_refused_where_the_tenants_policy_asks_for_signatures(
    signatures: Signatures, asks: bool | None, counted: Counted
) -> None:
    objects = await with_policy(TenantPolicy(require_signed_publishers=asks))
    result, calls = await handled(record_of(event()), signatures, objects=objects)
    is_refused = signatures.are_required if asks is None else asks
    assert (calls, reasons(result)) == ((0, ["unsigned"]) if is_refused else (1, []))
    assert counted.by_type == ([] if is_refused else [(GRANT.type, 1)])
    result, calls = await handled(signed(event()), signatures, objects=objects)
    assert (calls, result.letters) == (1, [])


def borrowed(made: Event, other: Event, signer: EventSigner | str = "operators") -> Any:
    """An event under the signature of another."""
    header = signature_header(other, KEYS.signer(signer) if isinstance(signer, str) else signer)
    record = record_of(made)
    return replace(record, headers=(*record.headers, header))


FORGED: dict[str, tuple[Any, str]] = {
    "under another event's signature": (
        borrowed(event(), event(events.ConsentGranted(consent_id="d", version=1))),
        "wrong-signature",
    ),
    "under another tenant's signature": (borrowed(event(), event(tenant="t2")), "wrong-signature"),
    "under the signature of another type": (
        borrowed(event(), event(events.ConsentRevoked(consent_id="c", version=1))),
        "wrong-signature",
    ),
    "by a key that nobody knows": (signed(event(), signer_of(STRANGER)), "unknown-signer"),
    "by a service that publishes no such type": (signed(event(), "inference"), "signer-not-allowed"),
    "by a registered publisher for another tenant": (
        signed(event(tenant="t2"), signer_of(CLINIC)),
        "signer-not-allowed",
    ),
    "by a registered publisher of another type": (
        signed(event(events.ConsentRevoked(consent_id="c", version=1)), signer_of(CLINIC)),
        "signer-not-allowed",
    ),
}


@BOTH
@pytest.mark.parametrize("how", FORGED)
async def test_a_wrong_signature_is_refused_before_and_after_the_upgrade(how: str, signatures: Signatures) -> None:
    record, reason = FORGED[how]
    objects = await with_policy(TenantPolicy(require_signed_publishers=False))
    result, calls = await handled(record, signatures, objects=objects)
    assert (result.acknowledged, calls, result.outcomes) == (True, 0, [Outcome.DEAD_LETTERED])
    assert reasons(result) == [reason]
    [letter] = result.letters
    assert [header for header in record.headers if header not in letter.headers] == [], "the letter keeps the signature"
    assert set(dict(letter.headers)[DETAIL] or b"") < set(b"abcdefghijklmnopqrstuvwxyz:,- ")


async def test_a_registered_publisher_is_believed_for_its_tenants_and_types() -> None:
    objects = await with_policy(TenantPolicy(require_signed_publishers=True))
    result, calls = await handled(signed(event(), signer_of(CLINIC)), REFUSING, objects=objects)
    assert (calls, result.letters) == (1, [])


async def test_a_forged_event_is_dead_lettered_once_by_the_owner_of_its_topic() -> None:
    forged = borrowed(event(PURGE), event(PURGE, tenant="t2"))
    for service, letters in (("purge", ["wrong-signature"]), ("export", []), ("ledger", [])):
        result, calls = await handled(forged, REFUSING, service=service)
        assert (calls, reasons(result), len(result.outcomes)) == (0, letters, len(letters)), service


async def test_a_topics_owner_dead_letters_what_is_forged_although_it_handles_no_such_event() -> None:
    data = events.AdapterRetired(adapter_digest="a" * 64, reason_code="superseded")
    result, _ = await handled(record_of(event(data)), REFUSING, service="adapters")
    assert reasons(result) == ["unsigned"]
    result, _ = await handled(signed(event(data), "adapters"), REFUSING, service="adapters")
    assert (result.letters, result.outcomes) == ([], [])


async def test_each_reader_dead_letters_what_is_signed_by_a_key_that_it_does_not_know() -> None:
    """The others may know it already: nothing is lost to one whose trust file is older than theirs."""
    by_a_new_key = signed(event(PURGE), signer_of(STRANGER))
    for service in ("purge", "export"):
        result, calls = await handled(by_a_new_key, REFUSING, service=service)
        assert (calls, reasons(result)) == (0, ["unknown-signer"]), service


async def test_a_forged_removal_is_not_sent_back_to_its_topic() -> None:
    result, _ = await handled(record_of(event(PURGE)), REFUSING, service="purge")
    assert [letter.topic for letter in result.letters] == [f"{events.TENANTS}.dlq"]


async def test_a_forged_copy_for_another_reader_is_dead_lettered_too() -> None:
    record = record_of(event(PURGE))
    copy = replace(record, headers=(*record.headers, ("sano_only_for", b"export")))
    result, _ = await handled(copy, REFUSING, service="purge")
    assert reasons(result) == ["unsigned"]


# --- copies


async def test_a_requeued_copy_keeps_the_signature() -> None:
    record = signed(event(PURGE), "operators")
    copy = copy_for("purge", record)
    later = replace(record, headers=tuple(copy.headers), timestamp=record.timestamp + 10**7)
    result, calls = await handled(later, REFUSING, service="purge")
    assert (calls, result.letters) == (1, [])


async def test_a_redelivered_event_of_a_key_that_has_ended_since_is_still_believed() -> None:
    key, now = LocalKey.generate(), utc_now()
    ended = event_key(key, "import", valid_until=now - timedelta(days=1))
    signatures = Signatures(EventVerifier(KEYS.trust(ended)), are_required=True)
    early = signed(event(), signer_of(key, lambda: now - timedelta(days=2)))
    result, calls = await handled(replace(early, timestamp=int(now.timestamp() * 1000)), signatures)
    assert (calls, result.letters) == (1, [])


async def test_a_time_that_the_publisher_wrote_itself_is_no_word_of_the_broker() -> None:
    key, now = LocalKey.generate(), utc_now()
    revoked = event_key(key, "import", revoked_at=now - timedelta(days=1))
    signatures = Signatures(EventVerifier(KEYS.trust(revoked)))
    early = signed(event(), signer_of(key, lambda: now - timedelta(days=2)))
    assert reasons((await handled(early, signatures))[0]) == [], "the broker had it before the revocation"
    assert reasons((await handled(replace(early, timestamp_type=0), signatures))[0]) == ["signer-not-valid"]


# --- runs


async def stand_of(
    signatures: Signatures, objects: MemoryObjectStore | None = None, stand: Stand | None = None
) -> Stand:
    stand = stand or Stand()
    made = await stand.begun()
    tenancy = a_tenancy(made.bus, objects)
    made.dispatcher = replace(made.dispatcher, signatures=signatures, tenancy=tenancy)
    made.handling = replace(made.handling, dispatcher=made.dispatcher)
    return made


def run_of(*offsets: int) -> list[Any]:
    return [signed(event(events.ConsentGranted(consent_id=f"c{n}", version=1)), offset=n, partition=0) for n in offsets]


async def test_a_run_ends_before_the_first_event_that_is_not_believed() -> None:
    stand = await stand_of(REFUSING)
    records = [*run_of(1, 2), granted(3), *run_of(4)]
    assert await stand.handling.attempt(records) == 2
    assert [len(run) for run in stand.runs] == [2]
    assert await stand.handling.attempt(records[2:]) == 1
    assert (stand.alone, [(dict(letter.headers)[REASON]) for letter in stand.bus.raw]) == ([], [b"unsigned"])
    assert await stand.handling.attempt(records[3:]) == 1
    assert len(stand.alone) == 1


class Reads(MemoryObjectStore):
    """Counts the reads of states."""

    def __init__(self) -> None:
        super().__init__()
        self.states = 0

    async def get(self, key: str) -> Any:
        self.states += key == object_keys.state_key("t1")
        return await super().get(key)


async def test_an_unsigned_event_that_a_run_leaves_for_the_next_is_counted_once(counted: Counted) -> None:
    half = Stand(several=lambda run: [Outcome.EFFECT] * 2)
    stand = await stand_of(COUNTING, stand=half)
    stand.dispatcher = replace(stand.dispatcher, telemetry=replace(TELEMETRY, unsigned=counted))  # type: ignore[arg-type]
    stand.handling = replace(stand.handling, dispatcher=stand.dispatcher)
    records = [*run_of(1), granted(2), granted(3), granted(4), granted(5)]
    while records:
        records = records[await stand.handling.attempt(records) :]
    assert sum(amount for _, amount in counted.by_type) == 4


@pytest.mark.parametrize(("records", "reads"), [(run_of(1, 2, 3), 0), ([granted(1), granted(2), granted(3)], 1)])
async def test_the_policy_is_read_once_for_a_run_that_is_not_signed_and_never_for_a_signed_one(
    records: Sequence[Any], reads: int
) -> None:
    objects = Reads()
    await a_tenancy(RecordingPublisher(), objects).states.create(TenantState(tenant="t1", nonce="n"))
    stand = await stand_of(COUNTING, objects)
    assert await stand.handling.attempt(records) == 3
    assert objects.states == reads


def test_a_dispatcher_that_was_told_of_no_trust_file_believes_no_signature() -> None:
    handlers: dict[type[events.EventData], Handler[None]] = {}
    made = Dispatcher("curation", handlers, a_tenancy(RecordingPublisher()), None, TELEMETRY)
    assert made.signatures.verifier.trust.file.keys == ()
    assert not made.signatures.are_required
