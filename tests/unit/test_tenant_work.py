"""An event's work reads its tenant's state once, and its key only where data may be created for the tenant."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from schemas.bus.envelope import Event
from schemas.bus.events import ExampleWithdrawn, TrainingRequested
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.errors import TenantFenced
from tenancy.platform.clock import utc_now
from tenancy.state.registry import Change, with_events
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.tenant_id import TenantId
from tests.fixtures.noting_store import NotingStore

TENANT = TenantId("t1")
STATE, KEY = object_keys.state_key(TENANT), object_keys.key_key(TENANT)
EVENT = Event(
    subject=TENANT, data=ExampleWithdrawn(example_id="e1", reason_code="request"), time=utc_now(), source="/test"
)


@dataclass(frozen=True)
class Scene:
    objects: NotingStore
    publisher: RecordingPublisher
    tenancy: Tenancy

    @property
    def read(self) -> list[str]:
        return self.objects.keys_read


@pytest.fixture
async def scene() -> Scene:
    objects, publisher = NotingStore(), RecordingPublisher()
    tenancy = assemble(objects, KeyFileMasterKey(b"m" * 32), publisher, "/sanolith/test")
    await tenancy.keys.create(TENANT)
    await tenancy.states.create(TenantState(tenant=TENANT, nonce="n"))
    objects.keys_read.clear()
    return Scene(objects, publisher, tenancy)


def versioned(version: int) -> Change:
    return lambda state: state.evolve(policy_version=version)


async def test_of_a_fenced_tenant_the_key_is_not_read(scene: Scene) -> None:
    await scene.tenancy.states.swap(TENANT, lambda state: state.evolve(status="purging"))
    scene.read.clear()
    with pytest.raises(TenantFenced):
        await scene.tenancy.begin(EVENT)
    assert scene.read == [STATE]


async def test_swaps_go_on_from_what_is_known_and_the_opened_work_stays_as_it_was(scene: Scene) -> None:
    work = await scene.tenancy.begin(EVENT)
    swapped = await (await work.swap(versioned(5))).swap(versioned(6))
    assert scene.read == [STATE, KEY]
    assert (work.state.policy_version, swapped.state.policy_version) == (1, 6)
    assert swapped.snapshot == await scene.tenancy.states.read(TENANT)


async def test_what_a_swap_owes_is_published_by_the_flush_as_caused_by_the_event(scene: Scene) -> None:
    work = await scene.tenancy.begin_run([EVENT])
    entry = work.entry(TrainingRequested(run_id="r1", trigger="policy"))
    work = await work.swap(lambda state: with_events(state, entry))
    assert scene.publisher.events == []
    work = await work.flush()
    [published] = scene.publisher.events
    assert (published.data, published.causation_id) == (TrainingRequested(run_id="r1", trigger="policy"), EVENT.id)
    assert work.state.outbox == ()
    assert scene.read == [STATE, KEY]
