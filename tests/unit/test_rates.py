"""Requests and tokens a minute: a bucket of each, filled by the minute, and OpenAI's headers about them."""

from __future__ import annotations

import pytest

from inference.errors import RequestRefused
from inference.tenants.rates import FEW, Rates, duration
from schemas.tenant.policy import TenantPolicy
from tenancy.tenant_id import TenantId

T1, T2 = TenantId("t1"), TenantId("t2")
POLICY = TenantPolicy(requests_per_minute=6, tokens_per_minute=600)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rates(clock: Clock) -> Rates:
    return Rates(clock)


def refused(rates: Rates, tenant: TenantId = T1) -> RequestRefused:
    with pytest.raises(RequestRefused) as refusal:
        rates.admit(tenant, POLICY)
    assert (refusal.value.status, refusal.value.code) == (429, "rate_limit_exceeded")
    return refusal.value


def test_a_minutes_requests_may_come_at_once_and_the_next_when_there_is_one_again(rates: Rates, clock: Clock) -> None:
    for _ in range(6):
        rates.admit(T1, POLICY)
    refusal = refused(rates)
    assert refusal.headers["Retry-After"] == "10"
    assert "requests" in refusal.message
    rates.admit(T2, POLICY)
    clock.now += 9.9
    assert refused(rates).headers["Retry-After"] == "1"
    clock.now += 0.1
    rates.admit(T1, POLICY)
    refused(rates)


def test_what_was_begun_is_finished_and_its_debt_is_paid_before_the_next_begins(rates: Rates, clock: Clock) -> None:
    rates.admit(T1, POLICY)
    rates.take(T1, 700)
    refusal = refused(rates)
    assert refusal.headers["Retry-After"] == "11"
    assert "tokens" in refusal.message
    assert refusal.headers["x-ratelimit-remaining-tokens"] == "0"
    clock.now += 10.1
    rates.admit(T1, POLICY)


def test_what_is_given_back_can_be_used_again(rates: Rates) -> None:
    rates.admit(T1, POLICY)
    rates.take(T1, 600)
    refused(rates)
    rates.take(T1, -600)
    rates.admit(T1, POLICY)


def test_the_headers_are_openais_six(rates: Rates, clock: Clock) -> None:
    rates.admit(T1, POLICY)
    rates.take(T1, 30)
    assert rates.headers(T1, POLICY) == {
        "x-ratelimit-limit-requests": "6",
        "x-ratelimit-remaining-requests": "5",
        "x-ratelimit-reset-requests": "10s",
        "x-ratelimit-limit-tokens": "600",
        "x-ratelimit-remaining-tokens": "570",
        "x-ratelimit-reset-tokens": "3s",
    }
    clock.now += 60
    told = rates.headers(T1, POLICY)
    assert (told["x-ratelimit-remaining-requests"], told["x-ratelimit-reset-tokens"]) == ("6", "0s")


def test_a_smaller_policy_holds_from_the_next_request_on(rates: Rates) -> None:
    rates.admit(T1, POLICY)
    smaller = TenantPolicy(requests_per_minute=1, tokens_per_minute=600)
    rates.admit(T1, smaller)
    with pytest.raises(RequestRefused):
        rates.admit(T1, smaller)


def test_of_tenants_whose_buckets_are_full_again_nothing_is_kept(rates: Rates, clock: Clock) -> None:
    for number in range(FEW):
        rates.admit(TenantId(f"x{number}"), POLICY)
    clock.now += 60
    rates.admit(T1, POLICY)
    assert set(rates._accounts) == {T1}
    rates.forget(T1)
    assert not rates._accounts


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.0201, "21ms"), (1, "1s"), (59.2, "1m0s"), (60, "1m0s"), (372, "6m12s")]
)
def test_a_duration_is_written_as_openai_writes_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text
