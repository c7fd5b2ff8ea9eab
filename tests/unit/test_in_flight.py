"""What a handler does many times at once is over when the handler is, and is never too much at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from consumers.curation.handlers import on_consent_granted
from consumers.training.freeze import eligible
from inference.adapters.adapter_files import AdapterFiles, NotServable
from producers.commands.onboarding import onboard
from schemas.bus.envelope import Event
from schemas.bus.events import ConsentGranted
from schemas.objects import object_keys
from schemas.objects.curation import ConsentRecord, ExampleRecord, WaitingExample
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.errors import StoreUnavailable
from tenancy.platform.concurrency import AT_ONCE
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import ObjectVersion, StoredObject
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import NOW, Parts, publish_adapter

TENANT = TenantId("t1")
TURNS = 20


@dataclass
class Counting(MemoryObjectStore):
    """Each read and removal takes some turns of the event loop; ``failing`` fails at once, once it is set."""

    in_flight: int = 0
    most: dict[str, int] = field(default_factory=dict)
    failing: str | None = None

    async def _taking_turns(self, key: str) -> None:
        if self.failing is not None and key.endswith(self.failing):
            raise StoreUnavailable("this one fails")
        area = key.split("/")[2] if key.startswith("tenants/") else key
        self.in_flight += 1
        self.most[area] = max(self.most.get(area, 0), self.in_flight)
        try:
            for _ in range(TURNS):
                await asyncio.sleep(0)
        finally:
            self.in_flight -= 1

    async def get(self, key: str) -> StoredObject:
        await self._taking_turns(key)
        return await super().get(key)

    async def delete_versions(self, versions: Sequence[ObjectVersion]) -> None:
        await self._taking_turns(versions[0].key)
        await super().delete_versions(versions)


@pytest.fixture
async def parts() -> Parts:
    made = Parts(objects=Counting())
    await onboard(made.tenancy, TENANT)
    return made


def counting(parts: Parts) -> Counting:
    assert isinstance(parts.objects, Counting)
    return parts.objects


async def approved(tenancy: Tenancy, numbers: range) -> None:
    """Examples that wait for a consent each of its own."""
    store = await tenancy.store(TENANT)
    for number in numbers:
        example = ExampleRecord(
            example_id=f"e{number}",
            version=1,
            event_id=f"event-{number}",
            status="approved",
            decided_at=NOW,
            commitment="a" * 64,
            reviewer_id="rev-1",
            consent_id=f"c{number}",
        )
        await store.put_record(object_keys.example(example.example_id), example)
        consent = ConsentRecord(consent_id=f"c{number}", version=1, event_id=f"granted-{number}", granted=True)
        await store.put_record(object_keys.consent(consent.consent_id), consent)


@pytest.mark.parametrize("failing", ["examples/e3", "waiting/e3"])
async def test_a_grant_that_fails_leaves_nothing_running(parts: Parts, failing: str) -> None:
    await approved(parts.tenancy, range(8))
    store = await parts.tenancy.store(TENANT)
    for number in range(8):
        mark = object_keys.waiting_example("c1", f"e{number}")
        await store.put_record(mark, WaitingExample(example_id=f"e{number}", consent_id="c1"))
    counting(parts).failing = failing
    event = Event(subject=TENANT, data=ConsentGranted(consent_id="c1", version=2), time=NOW, source="/test")
    with pytest.raises(StoreUnavailable):
        await on_consent_granted(event, parts.tenancy)
    assert counting(parts).in_flight == 0


async def test_a_fetch_that_fails_leaves_nothing_running(parts: Parts, tmp_path: Path) -> None:
    digest = await publish_adapter(parts, TENANT)
    counting(parts).failing = object_keys.ADAPTER_CONFIG
    files = AdapterFiles(parts.tenancy, parts.keys.trust, tmp_path, "b" * 64, {}, max_rank=16)
    with pytest.raises(NotServable):
        await files.fetch(TENANT, digest)
    assert counting(parts).in_flight == 0


async def test_consents_are_read_some_at_a_time(parts: Parts) -> None:
    await approved(parts.tenancy, range(40))
    counting(parts).most.clear()
    store = await parts.tenancy.store(TENANT)
    entries = await eligible(store, TenantPolicy(baa_reference="B", deletion_sla_days=30), NOW)
    assert [(entry.example_id, entry.consent_event_id) for entry in entries] == sorted(
        (f"e{number}", f"granted-{number}") for number in range(40)
    )
    assert counting(parts).most["consents"] == AT_ONCE == counting(parts).most["examples"]
