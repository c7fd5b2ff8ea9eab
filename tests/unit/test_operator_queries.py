"""What operators are shown: states, purges against their SLA, usage, and an adapter's lineage."""

from __future__ import annotations

from datetime import timedelta

import pytest

from producers.commands import requests
from producers.queries import adapters, purges, tenants, usage
from producers.queries.lineage import lineage
from producers.queries.ratings import rated_adapters, ratings_of
from schemas.bus.events import AnswersRated, UsageRecorded
from schemas.objects import object_keys
from schemas.objects.replicas import ReplicaRecord
from schemas.objects.usage import KeptUsage, UsageDay
from tenancy.errors import BadSignature, Refused
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import BASE, NOW, Parts, onboarded_parts, publish_adapter, purge_ports, purge_to_the_end

TENANT = TenantId("t1")


@pytest.fixture
async def parts() -> Parts:
    return await onboarded_parts(TENANT)


async def test_views_say_what_the_states_say(parts: Parts) -> None:
    first, second = await publish_adapter(parts, TENANT, 1), await publish_adapter(parts, TENANT, 2)
    await requests.activate(parts.tenancy, TENANT, second)
    assert [(v.digest, v.active) for v in await adapters.adapters(parts.tenancy, TENANT)] == [
        (first, False),
        (second, True),
    ]
    counted = UsageDay(ratings={first: AnswersRated(adapter_digest=first, up=2, down=1)})
    store = await parts.tenancy.store(TENANT)
    await store.put_record(object_keys.usage_day("20260301"), counted)
    await store.put(object_keys.usage_day("20250101"), b"of before any adapter was published, and so not read")
    rated = await rated_adapters(parts.tenancy, TENANT)
    assert await ratings_of(parts.tenancy, TENANT, first) == counted.ratings[first]
    assert (await ratings_of(parts.tenancy, TENANT, "0" * 64)).up == 0
    assert [(v.digest, v.rated_up, v.rated_down) for v in rated] == [(first, 2, 1), (second, 0, 0)]
    assert [v.run_id for v in await adapters.runs(parts.tenancy, TENANT)] == ["run-1", "run-2"]
    [[view]] = [page async for page in tenants.pages(parts.tenancy)]
    assert (view.tenant, view.status, view.active_adapter) == ("t1", "active", second)
    whole = await tenants.tenant(parts.tenancy, TENANT)
    assert (whole.examples, whole.adapters, whole.runs) == (0, 2, 2)
    assert await adapters.whole_digest(parts.tenancy, TENANT, first[:8]) == first
    assert await adapters.owner(parts.tenancy, first[:8]) == (TENANT, first)
    with pytest.raises(Refused, match="2 adapters of any tenant"):
        await adapters.owner(parts.tenancy, "")


async def test_purges_say_how_much_of_the_sla_is_left_and_for_whom_they_wait(parts: Parts) -> None:
    replica = ReplicaRecord(
        replica_id="replica-1",
        base_model_digest=BASE,
        started_at=NOW,
        expires_at=NOW + timedelta(hours=1),
        incarnation="i1",
    )
    await parts.objects.put(object_keys.replica_key("replica-1"), replica.model_dump_json().encode())
    await requests.request_purge(parts.tenancy, TENANT, requested_by="operator")
    await purge_to_the_end(parts)
    parts.now = NOW + timedelta(days=29)
    [view] = (await purges.purges(parts.tenancy)).views
    assert (view.step, view.waits_for_replicas, view.remaining_seconds) == ("shredded", ("replica-1",), 86_400.0)
    parts.now = NOW + timedelta(days=31)
    [view] = (await purges.purges(parts.tenancy)).views
    assert view.remaining_seconds == -86_400.0
    await purge_ports(parts).driver.reconcile()
    [view] = (await purges.purges(parts.tenancy)).views
    assert (view.step, view.remaining_seconds, view.waits_for_replicas) == ("certified", None, ())


async def test_usage_is_summed_by_source(parts: Parts) -> None:
    store = await parts.tenancy.store(TENANT)
    for number, source in enumerate(("inference", "inference", "training")):
        record = UsageRecorded.model_validate(
            {
                "usage_id": f"u{number}",
                "source": source,
                "prompt_tokens": 10,
                "engine_seconds": 0.5,
                "gpu_seconds": 0.3,
                "queue_seconds": 0.1,
                "cached_tokens": 4,
                "embedding_tokens": 3,
                "retrievals": 1,
                "bytes_stored": 100,
            }
        )
        await store.put_record(object_keys.usage(f"event-{number}"), KeptUsage(at=NOW, usage=record))
    inference, training = await usage.usage(parts.tenancy, TENANT)
    assert (inference.records, inference.prompt_tokens, inference.engine_seconds) == (2, 20, 1.0)
    assert (training.source, training.records, training.prompt_tokens) == ("training", 1, 10)
    assert (inference.bytes_written, training.bytes_written) == (200, 100)
    assert (inference.gpu_seconds, inference.queue_seconds, inference.cached_tokens) == (0.6, 0.2, 8)
    assert (inference.embedding_tokens, inference.retrievals) == (6, 2)


async def test_lineage_names_run_reviewers_consents_and_approvals(parts: Parts) -> None:
    digest = await publish_adapter(parts, TENANT)
    found = await lineage(parts.tenancy, TENANT, digest, parts.keys.trust)
    assert (found.run_id, found.trigger, found.request_event_id) == ("run-0", "operator", "request-1")
    assert found.signature_verified
    rows = [(e.example_id, e.role, e.reviewer_id, e.consent_id, e.approval_event_id) for e in found.examples]
    assert rows[0] == ("example-0", "trained", "reviewer-0", "consent-1", "approval-0")
    assert [row[1] for row in rows] == ["trained", "trained", "held-out"]


async def test_lineage_refuses_a_manifest_of_another_signer_or_of_another_adapter(parts: Parts) -> None:
    digest, other = await publish_adapter(parts, TENANT, 1), await publish_adapter(parts, TENANT, 2)
    with pytest.raises(BadSignature):
        await lineage(parts.tenancy, TENANT, digest, Parts().keys.trust)
    store = await parts.tenancy.store(TENANT)
    body, _ = await store.get(object_keys.adapter(other, object_keys.ADAPTER_MANIFEST))
    await store.put(object_keys.adapter(digest, object_keys.ADAPTER_MANIFEST), body)
    with pytest.raises(BadSignature, match="of another tenant or adapter"):
        await lineage(parts.tenancy, TENANT, digest, parts.keys.trust)


async def test_a_purge_whose_record_cannot_be_read_is_named_beside_the_others(parts: Parts) -> None:
    purge_id = await requests.request_purge(parts.tenancy, TENANT, requested_by="op")
    await purge_to_the_end(parts)
    await parts.objects.put("purges/t9/newer.json", b'{"step": "a-step-of-a-newer-release"}')
    found = await purges.purges(parts.tenancy)
    assert ([view.purge_id for view in found.views], found.unreadable) == ([purge_id], ["purges/t9/newer.json"])
