"""What a certificate says of the bus is true also of the events that come after it."""

from __future__ import annotations

import json
from pathlib import Path

from schemas.base.contract import read_tolerant
from schemas.bus import events
from schemas.bus.events import PurgeCompleted
from schemas.bus.topics import TOPICS
from schemas.evidence.statements import PURGE_PREDICATE, PurgeCertificate
from schemas.objects import object_keys
from tenancy.evidence.verification import verify_file
from tests.invariants.worlds import assert_purged
from tests.world.world import POLICY, World


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
