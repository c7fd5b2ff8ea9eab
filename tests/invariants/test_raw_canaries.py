"""An identifier of each class, as raw as a hospital types it, through every source and the whole loop: after it none is
on the bus, in the bucket, on a page, in a log, a span or a metric, decrypted or not.

The gate is the real one, at each of its three looks; bus, store and trainer are the world's.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from producers.queries.proposals import ProposalView, open_proposals
from producers.sources.importing import import_approvals
from producers.sources.proposing import Proposer
from producers.sources.source_key import SourceKey
from schemas.base.redaction import SAFE_HARBOR
from schemas.bus import events
from schemas.bus.content import ExampleContent
from schemas.bus.envelope import Encoded, encode
from schemas.objects import object_keys
from schemas.objects.training import TrainingSet
from tenancy.redaction.standard import standard_gate
from tenancy.tenant_id import TenantId
from tests.fixtures.hospital import REVIEWED, SYSTEMS, Way, approvals, leaked
from tests.invariants.worlds import DispatchedWorld
from tests.unit.review_page_parts import Desk, OfWorld
from tests.world.world import POLICY

CLASSES = set(SAFE_HARBOR.values())


async def settle(world: DispatchedWorld) -> None:
    """As the world does, which takes fewer steps than there are events here."""
    while await world.deliver():
        pass
    await world.settle()


async def approve(world: DispatchedWorld, tenant: TenantId, waiting: Sequence[ProposalView]) -> None:
    for consent in {view.consent_id for view in waiting if view.consent_id is not None}:
        await world.publish(tenant, events.ConsentGranted(consent_id=consent, version=1))
    for view in waiting:
        said = events.ExampleReviewed(
            example_id=view.example_id,
            version=1,
            reviewer_id="rev-1",
            verdict="approved",
            commitment=view.commitment,
        )
        await world.publish(tenant, said)
    await settle(world)


async def test_no_identifier_of_any_class_leaves_a_sources_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert all(set(system.patient.texts()) == CLASSES for system in (*SYSTEMS, REVIEWED))
    caplog.set_level(logging.DEBUG)
    gate = standard_gate()
    # Two sources of a system read the same texts, and the tenant has no terms of its own.
    looked = cache(gate.scan)
    monkeypatch.setattr(gate, "scan", lambda text, terms: looked(text))
    monkeypatch.setattr("tests.world.world.gate_of_tests", lambda: gate)
    world, count = DispatchedWorld(tmp_path), sum(system.examples() for system in (*SYSTEMS, REVIEWED))
    policy = POLICY.evolve(require_consent=False, min_new_examples=count)
    tenant = await world.onboard("t1", policy)
    key, counter = SourceKey(b"k" * 32), world.telemetry.meter.create_counter("records")
    proposer = Proposer(tenant, world.public_keys[tenant], key, gate, world.bus, "/test", world.clock)

    async def take(message: Encoded) -> None:
        world.bus.take(message)

    for system in SYSTEMS:
        for send in system.sources.values():
            await send(Way(proposer, tmp_path, counter, take), system.patient)
    file = approvals(tmp_path, REVIEWED.patient)
    imported = await import_approvals(file, tenant, world.tenancy, lambda: gate, stated_by="operator-1")
    assert (len(imported.examples), imported.redacted >= len(CLASSES)) == (REVIEWED.examples(), True)
    await settle(world)
    waiting = await open_proposals(world.outside, tenant)
    assert Counter(view.source for view in waiting) == Counter(
        system.kind for system in SYSTEMS for _ in range(system.examples())
    )
    desk = Desk(OfWorld(world))
    reviewer = await desk.signed_in()
    paths = ["/queue", *(f"/examples/{view.example_id}" for view in waiting)]
    places = {f"page {path}": await reviewer.look(path) for path in paths}
    await approve(world, tenant, waiting)

    compliance = await desk.signed_in(role="compliance")
    digest = await world.served(tenant)
    for path in ("consents", "withdrawals", "audit", "agreement", f"adapters/{digest}"):
        places[f"page {path}"] = await compliance.look(f"/compliance/{path}")
    store, places["log"] = await world.outside.store(tenant), caplog.text
    places["metrics"] = generate_latest(world.registry).decode()
    places |= {f"span {number}": span.to_json() for number, span in enumerate(world.spans.get_finished_spans())}
    places |= {f"error {number}": error for number, error in enumerate(world.errors)}
    for key_, versions in world.memory.objects.items():
        for version in versions:
            places[f"bucket {key_}"] = key_ + (version.body or b"").decode("latin-1")
    for area in object_keys.TENANT_AREAS:
        async for name in store.list(area):
            places[f"opened {name}"] = (await store.get(name))[0].decode("latin-1")
    for topic, log in world.bus.topics.items():
        for number, event in enumerate(log):
            message = encode(event)
            places[f"{topic} {number}"] = f"{message.key!r} {message.value.decode()} {message.headers}"
            if isinstance(event.data, events.ExampleProposed):
                content = store.keys.decrypt_inline(event.data.content.reference.jwe, ExampleContent)
                places[f"{topic} {number}, decrypted"] = content.model_dump_json()
    assert leaked(places.items(), *SYSTEMS, REVIEWED) == set()
    assert all(view.redacted for view in waiting), "each had something to be redacted"
    for kind in ("opened contents/", "page /examples/", "sano.curation.v1"):
        assert any("[MRN-1]" in text for place, text in places.items() if place.startswith(kind)), "not blind"
    assert {"span", "metrics", "log"} <= {place.partition(" ")[0] for place in places}
    run = (await world.state(tenant)).runs["batch-1"]
    assert run.training_set_id is not None
    frozen, _ = await store.get_record(object_keys.training_set(run.training_set_id), TrainingSet)
    assert len(frozen.entries) == count, "and the third look found nothing in what the first two had let pass"
    assert {(entry.gate.gate, entry.gate.verdict) for entry in frozen.entries} == {("sano-gate", "clean")}
