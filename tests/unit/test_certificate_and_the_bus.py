"""What a certificate says of the bus is true also of the events that come after it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from schemas.base.contract import read_tolerant
from schemas.bus import events
from schemas.bus.events import PurgeCompleted
from schemas.bus.topics import TOPICS
from schemas.evidence.statements import PURGE_PREDICATE, PurgeCertificate
from schemas.objects import object_keys
from tenancy.evidence.verification import verify_file
from tests.invariants.worlds import assert_purged
from tests.world.world import POLICY, PURGE, World


async def test_the_time_by_which_events_are_gone_is_of_those_published_before_the_completion(tmp_path: Path) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1", POLICY)
    await world.publish(tenant, events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"))
    await world.settle()
    await assert_purged(world, tenant)
    late = await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))  # an upstream goes on
    file = tmp_path / "certificate.json"
    file.write_bytes((await world.memory.get(object_keys.certificate_key(tenant, "p1"))).body)
    verdict = verify_file(file, world.keys.trust)
    signed = world.keys.trust.verify(json.loads(file.read_bytes()), PURGE_PREDICATE)["predicate"]
    held = read_tolerant(PurgeCertificate, signed)

    [completed] = [event for event in world.bus.topics[events.TENANTS] if isinstance(event.data, PurgeCompleted)]
    longest = max(topic.worst_case_survival_ms() for topic in TOPICS.values()) / 1000
    assert held.topics_survive_until is not None
    bound = (held.topics_survive_until - held.completed_at).total_seconds()
    assert bound == longest
    for after in (completed, late):
        assert (held.topics_survive_until - after.time).total_seconds() <= longest, "it can outlive that time"

    assert verdict.facts["earlier events gone by"] == held.topics_survive_until.isoformat()
    assert "events gone by" not in verdict.facts
    [of_the_bus] = [line for line in verdict.does_not_prove if "the bus" in line]
    assert "published before the completion" in of_the_bus
    assert "others publish later" in of_the_bus
    said = PurgeCertificate.model_fields["topics_survive_until"].description
    assert said is not None
    assert "before completed_at" in said


async def test_of_a_topic_that_is_kept_without_end_it_says_what_stays_and_why_it_cannot_be_read(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    world.driver.policy = replace(PURGE, topic_retention={events.CURATION: "unlimited", events.TENANTS: 90})
    tenant = await world.onboard("t1", POLICY)
    await world.publish(tenant, events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"))
    await world.settle()
    await assert_purged(world, tenant)
    file = tmp_path / "certificate.json"
    file.write_bytes((await world.memory.get(object_keys.certificate_key(tenant, "p1"))).body)
    signed = world.keys.trust.verify(json.loads(file.read_bytes()), PURGE_PREDICATE)["predicate"]
    held = read_tolerant(PurgeCertificate, signed)

    assert held.topics_survive_until is None
    found = {store.store: store for store in held.stores}
    assert {name for name, store in found.items() if store.outcome == "unreadable"} == {events.CURATION}
    assert found[events.CURATION].gone_by is None
    assert found[events.TENANTS].gone_by == held.completed_at + timedelta(days=90, hours=1, minutes=6)
    assert found[f"{events.CURATION}.dlq"].gone_by == held.completed_at + timedelta(days=7, hours=1, minutes=6)
    stays = {kept.store: kept for kept in held.retained if kept.store in TOPICS}
    assert stays.keys() == {events.CURATION, events.TENANTS}
    for kept, how_long in ((events.CURATION, "without end"), (events.TENANTS, "for 90 days")):
        assert how_long in stays[kept].because
        assert "destroyed" in stays[kept].because
        assert "commitments" in stays[kept].holds

    verdict = verify_file(file, world.keys.trust)
    assert verdict.facts["earlier events gone by"] == "never, on sano.curation.v1: they stay, and cannot be read"
    [of_the_bus] = [line for line in verdict.does_not_prove if "the bus" in line]
    assert "in clear, against the contract, is there too" in of_the_bus
