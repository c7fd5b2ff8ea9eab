"""A service's work beside the events is shared out by the partitions that its processes are assigned."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.partitioner import DefaultPartitioner

from consumers.runtime.share import Share
from tenancy.service import periodic
from tenancy.service.periodic import Periodic
from tenancy.tenant_id import TenantId

TOPIC = "sano.tenants.v1"
PARTITIONS = 6


def share(*numbers: int, topic: str = TOPIC) -> Share:
    made = Share()
    made.follow(TOPIC, lambda: PARTITIONS)
    made.assigned([(topic, number) for number in numbers])
    return made


def test_every_tenant_is_of_one_share_the_one_that_its_records_are_in() -> None:
    shares = [share(0, 1), share(2), share(3, 4, 5), share()]
    numbers = list(range(PARTITIONS))
    for number in range(200):
        tenant = TenantId(f"t{number}")
        [owner] = [one for one in shares if one.owns(tenant)]
        assert owner is next(
            one for one in shares if DefaultPartitioner()(tenant.encode(), numbers, numbers) in one._held
        )


def test_before_an_assignment_and_without_partitions_nothing_is_owned() -> None:
    unassigned = Share()
    assert not unassigned.owns(TenantId("t1"))
    unassigned.follow(TOPIC, lambda: PARTITIONS)
    assert not unassigned.owns(TenantId("t1"))
    assert not any(share(*range(PARTITIONS), topic="sano.replicas.v1").owns(TenantId(f"t{n}")) for n in range(50))


def test_what_moves_is_owned_by_whom_it_moved_to() -> None:
    one, other = share(0, 1, 2), share(3, 4, 5)
    tenants = [TenantId(f"t{number}") for number in range(50)]
    one.assigned([])
    other.assigned([(TOPIC, number) for number in range(PARTITIONS)])
    assert not any(map(one.owns, tenants)) and all(map(other.owns, tenants))


async def test_a_call_that_takes_long_holds_up_no_later_one_up_to_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periodic, "PATIENCE_SECONDS", 0.001)
    begun: list[int] = []
    third = asyncio.Event()

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) == 3:
            third.set()
        await asyncio.Event().wait()

    looking = Periodic("look", 0.001, work, at_once=3)
    looking.start()
    await third.wait()
    await asyncio.sleep(0.05)
    assert begun == [0, 1, 2]
    await looking.stop()


async def test_pokes_during_a_call_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    again = asyncio.Event()

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) == 1:
            for _ in range(20):
                looking.poke()
                await asyncio.sleep(0)
        else:
            again.set()

    looking = Periodic("look", 3600, work, at_once=4)
    looking.start()
    await again.wait()
    await asyncio.sleep(0.01)
    assert begun == [0, 1]
    await looking.stop()


@pytest.mark.parametrize(("took", "pause"), [(0.0, 4.0), (1.5, 2.5), (3.5, 1.0), (60.0, 1.0)])
async def test_a_period_counts_from_begin_to_begin_and_leaves_a_quarter_free(took: float, pause: float) -> None:
    async def work() -> None:
        pass

    assert Periodic("look", 4.0, work).pause(took) == pause
