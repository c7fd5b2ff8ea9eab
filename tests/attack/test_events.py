"""Every topic under events that are nearly right: each is handled or becomes a dead letter with a reason of its own,
nothing of another tenant changes, and nothing of what they say is told elsewhere.

What no parser can read at all is in ``tests/integration/test_garbage.py``, on Kafka.
"""

from __future__ import annotations

import string
from pathlib import Path
from random import Random

import pytest
from prometheus_client import generate_latest

from consumers.runtime.poison import HANDLER_ERROR
from schemas.bus import events
from schemas.bus.content import CommittedDocument, DocumentClaimCheck
from schemas.bus.dead_letters import REASON_HEADERS
from schemas.bus.envelope import Event
from schemas.bus.topics import LIVE_TOPICS
from schemas.evidence.statements import EVICTION_PREDICATE
from tenancy.errors import Transient
from tests.attack.conftest import Size
from tests.attack.fuzzed_events import Mutations, at, places, planted
from tests.fixtures.records import record_of
from tests.invariants.test_quiet import log_lines
from tests.invariants.worlds import (
    NAME,
    OTHER_NAME,
    DispatchedWorld,
    every_name,
    frozen,
    learned,
    receipt,
    samples,
)
from tests.world.world import POLICY

pytestmark = pytest.mark.timeout(3600)

COMMITTED = CommittedDocument(reference=DocumentClaimCheck(document_id="d1", version=1), commitment="a" * 64)


class Stage:
    """Two tenants that have learned, and an event of every type about the first."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.world = DispatchedWorld(scratch)
        self.seed = seed
        self.marker = "".join(Random(f"marker/{seed}").choices(string.ascii_lowercase, k=24))

    async def set(self) -> Stage:
        world = self.world
        self.tenant, self.other = await world.onboard(NAME), await world.onboard(OTHER_NAME)
        own, foreign = await learned(world, self.tenant), await learned(world, self.other, text="b")
        self.sound = {
            data.type: data for data in samples(world, self.tenant, own, await world.approval(self.tenant, "e49"))
        }
        for data in (
            events.PolicyChanged(version=2, policy=POLICY),
            events.DocumentUpserted(document_id="d1", version=1, content=COMMITTED),
            events.DocumentRemoved(document_id="d1", version=1),
        ):
            self.sound[data.type] = data
        ids = ("e0", "e49", "consent-1", "batch-1", "x1", "u1", "p50", "replica-0", NAME, OTHER_NAME)
        self.mutations = Mutations(ids, (own, foreign), self.marker)
        return self

    async def send(self, event_type: str, number: int) -> str | None:
        """Give a changed event to everybody who reads its topic; what went wrong."""
        rng = Random(f"{self.seed}/{event_type}/{number}")
        event = Event(self.tenant, self.sound[event_type], self.world.now, "/attack")
        record = self.mutations.record(event, rng)
        for service in self.world.services:
            if record.topic not in service.topics:
                continue
            try:
                await self.world.dispatch(service, record)
            except Transient as error:
                return f"{self.seed}/{event_type}/{number}: {service.name} sees it for ever ({type(error).__name__})"
            except Exception as error:
                return f"{self.seed}/{event_type}/{number}: {service.name} raised {type(error).__name__}"
        return None

    async def settled(self) -> None:
        """At most as many steps as there are events, outcomes and receipts of all that was sent, and some."""
        for _ in range(50):
            try:
                return await self.world.settle()
            except AssertionError:  # it is given as many steps as one life of a tenant takes
                continue
        raise AssertionError("the world does not come to rest")

    def of_the_other(self) -> dict[str, list[str]]:
        """Every version of the other tenant's objects."""
        own = tuple(f"{area}/{self.other}/" for area in ("registry", "tenants", "audit"))
        return {key: versions for key, versions in frozen(self.world).items() if key.startswith(own)}


async def test_there_is_an_event_of_every_type_to_be_changed(tmp_path: Path) -> None:
    stage = await Stage(tmp_path, 0).set()
    assert stage.sound.keys() == events.EVENT_TYPES.keys() - {events.ReplicaRegistered.type}
    assert {data.topic for data in stage.sound.values()} == set(LIVE_TOPICS)


@pytest.mark.parametrize("event_type", sorted(events.EVENT_TYPES.keys() - {events.ReplicaRegistered.type}))
async def test_a_changed_event_is_handled_or_dead_lettered_changes_no_other_tenant_and_is_quoted_nowhere(
    event_type: str, tmp_path: Path, size: Size, seed: int
) -> None:
    stage = await Stage(tmp_path, seed).set()
    world, before = stage.world, stage.of_the_other()
    names: set[str] = set()
    with log_lines() as log, every_name(names):
        wrong = [found for number in range(size.events) if (found := await stage.send(event_type, number))]
        assert wrong == []
        assert stage.of_the_other() == before
        await stage.settled()
    reasons = [dict(letter.headers).get("dlq_reason", b"") or b"" for letter in world.bus.dead]
    assert HANDLER_ERROR.encode() not in reasons, "somebody raised what nobody foresaw"
    assert all(reasons), "each letter has a reason"
    said = [log.getvalue(), generate_latest(world.registry).decode(), *world.errors]
    said += [span.to_json() for span in world.spans.get_finished_spans()]
    said += [repr([pair for pair in letter.headers if pair[0] in REASON_HEADERS]) for letter in world.bus.dead]
    assert [place[:80] for place in said if stage.marker in place] == []
    assert [name for name in names if stage.mutations.word in name] == []
    assert await world.served(stage.other)


async def test_a_receipt_with_any_changed_word_under_our_own_signature_makes_nobody_raise(
    tmp_path: Path, size: Size, seed: int
) -> None:
    """As a replica that was taken over could sign it."""
    stage = await Stage(tmp_path, seed).set()
    world, before = stage.world, stage.of_the_other()
    rng = Random(f"{seed}/receipt")
    signed = receipt(world, stage.tenant, cause="p50")
    said = world.keys.trust.verify(signed, EVICTION_PREDICATE)
    for _ in range(size.events):
        place = rng.choice([path for path in places(said) if path])
        changed = planted(said, place, stage.mutations.instead(at(said, place), rng))
        try:
            data = events.ReplicaEvicted(replica_id="replica-0", cause_id="p50", receipt=world.keys.sign(changed))
        except ValueError:
            continue  # canonical JSON has no form for it, so nobody could sign it
        for service in world.services:
            if data.topic in service.topics:
                await world.dispatch(service, record_of(Event(stage.tenant, data, world.now, "/attack")))
    reasons = {dict(letter.headers).get("dlq_reason") for letter in world.bus.dead}
    assert HANDLER_ERROR.encode() not in reasons
    assert stage.of_the_other() == before
