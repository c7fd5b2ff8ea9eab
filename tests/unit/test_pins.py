"""Pinned adapters stay loaded while others can make room, and never take more than half of the places."""

from __future__ import annotations

import pytest

from inference.adapters.pins import Pins, pin_limit
from inference.adapters.residency import Residency, ResidencyPolicy
from schemas.objects.state import TenantState
from schemas.tenant.policy import TenantPolicy
from tenancy.tenant_id import TenantId

T1, T2, T3 = TenantId("t1"), TenantId("t2"), TenantId("t3")
A, B, C = "a" * 64, "b" * 64, "c" * 64


def state(tenant: TenantId, digest: str | None, *, keep: bool = True) -> TenantState:
    return TenantState(tenant=tenant, nonce="n", active_adapter=digest, policy=TenantPolicy(keep_resident=keep))


class Bench:
    """Three places, two pins, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.refused = 0
        self.pins = Pins(2, on_refused=self._refuse)
        policy = ResidencyPolicy(max_resident=3, idle_seconds=60)
        self.residency = Residency(policy, lambda: self.now, self.pins)

    def _refuse(self) -> None:
        self.refused += 1

    def use(self, *digests: str) -> None:
        for digest in digests:
            self.residency.release(self.residency.reserve(digest))


def test_the_least_recently_used_adapter_that_is_not_pinned_makes_room() -> None:
    bench = Bench()
    bench.use(A, B, C)
    bench.pins.follow(T1, state(T1, A))
    assert bench.residency.victim("d" * 64) == B


def test_a_pinned_adapter_makes_room_where_every_other_is_in_use() -> None:
    bench = Bench()
    bench.use(A)
    bench.pins.follow(T1, state(T1, A))
    bench.residency.reserve(B)
    bench.residency.reserve(C)
    assert bench.residency.victim("d" * 64) == A


def test_idle_time_does_not_unload_a_pinned_adapter() -> None:
    bench = Bench()
    bench.use(A, B)
    bench.pins.follow(T1, state(T1, A))
    bench.now = 1000.0
    assert bench.residency.idle() == (B,)


def test_a_pin_follows_the_active_adapter_and_the_policy() -> None:
    pins = Pins(2)
    pins.follow(T1, state(T1, A))
    pins.follow(T1, state(T1, B))
    assert (A in pins, B in pins, pins.holds(T1)) == (False, True, True)
    pins.follow(T1, state(T1, B, keep=False))
    assert (B in pins, pins.holds(T1)) == (False, False)


def test_a_tenant_without_an_adapter_takes_no_pin() -> None:
    pins = Pins(1)
    pins.follow(T1, state(T1, None))
    pins.follow(T2, state(T2, B))
    assert B in pins


def test_more_pins_than_there_are_is_said_once_and_the_next_free_one_is_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    for tenant, digest in ((T1, A), (T2, B), (T3, C), (T3, C)):
        bench.pins.follow(tenant, state(tenant, digest))
    assert C not in bench.pins
    assert bench.refused == 1
    assert [record.message for record in caplog.records] == ["adapter not pinned"]
    bench.pins.forget(T1)
    bench.pins.follow(T3, state(T3, C))
    assert C in bench.pins


@pytest.mark.parametrize(("places", "pins"), [(1, 0), (2, 1), (32, 16)])
def test_half_of_the_places_is_for_adapters_that_come_and_go(places: int, pins: int) -> None:
    assert pin_limit(places) == pins
