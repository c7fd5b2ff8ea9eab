"""A month's usage is priced by the versions of the prices that were valid on its days; a budget follows the cost."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from consumers.ledger.budgets import Budgets
from inference.errors import RequestRefused
from inference.tenants.binding import TenantStateCache
from producers.queries.cost import CostView, cost
from schemas.bus.envelope import Event
from schemas.bus.events import UsageRecorded, UsageSource
from schemas.objects.state import TenantState
from schemas.objects.usage import DATABASE_AREA, Report, UsageSum
from schemas.tenant.prices import PriceFile
from tenancy.errors import Refused
from tenancy.lifecycle.costs import Month, cost_of, read_prices
from tests.unit.test_usage_days import NOON, ONE, TENANT, Ledger

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "prices.yaml"
NOVEMBER = Month(2026, 11)


def used(day: int, **by_source: dict[str, Any]) -> dict[date, dict[UsageSource, UsageSum]]:
    sums: dict[Any, UsageSum] = {name: UsageSum.model_validate(fields) for name, fields in by_source.items()}
    return {date(2026, 11, day): sums}


def prices(*versions: dict[str, Any]) -> PriceFile:
    return PriceFile.model_validate({"currency": "USD", "prices": versions})


def test_each_amount_has_its_own_price_and_what_has_none_costs_nothing() -> None:
    file = prices(
        {
            "version": "v1",
            "valid_from": "2026-01-01",
            "inference": {
                "per_million_prompt_tokens": 4,
                "per_million_cached_tokens": 1,
                "per_million_completion_tokens": "10",
                "per_gpu_hour": 2,
            },
            "training": {"per_run": 5, "per_million_tokens": 3, "per_gpu_hour": 2},
            "storage": {"per_gib_month": 30},
        }
    )
    month = used(
        3,
        inference={
            "prompt_tokens": 1_000_000,
            "cached_tokens": 250_000,
            "completion_tokens": 500_000,
            "gpu_seconds": 1800,
            "queue_seconds": 1e6,
            "embedding_tokens": 500_000,
            "retrievals": 9,
        },
        training={"records": 2, "training_tokens": 1_000_000, "gpu_seconds": 3600},
        storage={"byte_days": {"adapters": 2**30, "audit": 2**30}},
    )
    costs = cost_of(month, NOVEMBER, file)
    assert costs.inference == Decimal(3) + Decimal("0.25") + 5 + 1 + 2, "the embedder's tokens as those of prompts"
    assert (costs.training, costs.storage) == (Decimal(15), Decimal(2))
    assert cost_of(month, NOVEMBER, prices({"version": "v1", "valid_from": "2026-01-01"})).total == 0


def test_embeddings_may_have_a_price_of_their_own() -> None:
    each = {"per_million_prompt_tokens": 4, "per_million_embedding_tokens": "0.5"}
    file = prices({"version": "v1", "valid_from": "2026-01-01", "inference": each})
    month = used(3, inference={"prompt_tokens": 1_000_000, "embedding_tokens": 1_000_000})
    assert cost_of(month, NOVEMBER, file).inference == Decimal("4.5")
    indexed = used(3, knowledge={"embedding_tokens": 1_000_000})
    assert cost_of(indexed, NOVEMBER, file).inference == Decimal("0.5")


@pytest.mark.parametrize(("price", "total"), [({}, 3 * 30), ({"database_per_gib_month": 45}, 2 * 30 + 45)])
def test_an_index_in_the_database_has_the_buckets_price_or_its_own(price: dict[str, int], total: int) -> None:
    version = {"version": "v1", "valid_from": "2026-01-01", "storage": {"per_gib_month": 30, **price}}
    stored = used(3, storage={"byte_days": {"adapters": 2 * 2**30, DATABASE_AREA: 2**30}})
    assert cost_of(stored, NOVEMBER, prices(version)).storage * 30 == total


def test_each_day_is_priced_by_the_version_that_was_valid_on_it() -> None:
    file = prices(
        {"version": "a", "valid_from": "2026-10-01", "training": {"per_run": 1}},
        {"version": "b", "valid_from": "2026-11-10", "training": {"per_run": 100}},
        {"version": "c", "valid_from": "2027-01-01", "training": {"per_run": 10_000}},
    )
    both = used(9, training={"records": 1}) | used(10, training={"records": 1})
    costs = cost_of(both, NOVEMBER, file)
    assert (costs.training, costs.versions) == (Decimal(101), ("a", "b"))
    with pytest.raises(Refused, match="no prices were valid on 2026-11-09"):
        cost_of(both, NOVEMBER, replace_first(file))


def replace_first(file: PriceFile) -> PriceFile:
    return file.evolve(prices=file.prices[1:])


def test_a_price_file_with_versions_out_of_order_or_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="in the order"):
        prices({"version": "a", "valid_from": "2026-02-01"}, {"version": "b", "valid_from": "2026-01-01"})
    with pytest.raises(ValidationError, match="same version"):
        prices({"version": "a", "valid_from": "2026-01-01"}, {"version": "a", "valid_from": "2026-02-01"})
    file = tmp_path / "prices.yaml"
    file.write_text("currency: USD\nprices:\n- {version: a, valid_from: 2026-01-01, inference: {per_token: 1}}\n")
    with pytest.raises(Refused, match=r"prices\.0\.inference\.per_token: Extra inputs"):
        read_prices(file)
    with pytest.raises(Refused, match="cannot be read"):
        read_prices(tmp_path / "none.yaml")


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "26-01", "2026-01 ", ""])
def test_what_is_no_month_is_refused(month: str) -> None:
    with pytest.raises(Refused, match="YYYY-MM"):
        Month.named(month)


@pytest.fixture
async def ledger() -> Ledger:
    return await Ledger().start()


async def use(ledger: Ledger, number: int, at: datetime, **amounts: Any) -> None:
    data = UsageRecorded.model_validate({"usage_id": Report(f"{at:%Y%m%d}", ONE, number).usage_id, **amounts})
    await ledger.handle(Event(subject=TENANT, data=data, time=at, source="/sanolith/inference"))


async def train(ledger: Ledger, run: str, at: datetime) -> None:
    data = UsageRecorded(usage_id=run, source="training", training_tokens=31_240, gpu_seconds=900)
    await ledger.handle(Event(subject=TENANT, data=data, time=at, source="/sanolith/training"))


async def a_clinic(ledger: Ledger) -> CostView:
    """30 clinicians, 50 chats a day on 20 working days, three trainings, 4 GiB: docs/costs.md."""
    chats = 30 * 50
    for number, day in enumerate(day for day in range(2, 28) if date(2026, 11, day).weekday() < 5):
        at = datetime(2026, 11, day, 12, tzinfo=NOON.tzinfo)
        tokens = {"prompt_tokens": chats * 4000, "completion_tokens": chats * 1000}
        await use(ledger, number + 1, at, source="inference", **tokens)
    for day in range(1, 31):
        at = datetime(2026, 11, day, 1, tzinfo=NOON.tzinfo)
        await use(
            ledger,
            100 + day,
            at,
            source="storage",
            stored=[{"area": "adapters", "bytes": 3 * 2**30}, {"area": "contents", "bytes": 2**30}],
        )
    for run in range(3):
        await train(ledger, f"run-{run}", NOON - timedelta(days=7 * run))
    await train(ledger, "run-of-october", NOON - timedelta(days=30))
    return await cost(ledger.tenancy, TENANT, NOVEMBER, read_prices(EXAMPLE))


async def test_a_clinics_adapter_adds_about_four_per_cent_to_what_its_answers_cost(ledger: Ledger) -> None:
    view = await a_clinic(ledger)
    assert (view.inference, view.training, view.storage) == (1200.0, 45.0, 0.4)
    assert view.adaptation_share == pytest.approx(0.0378, abs=1e-4)
    assert (view.total, view.currency, view.price_versions) == (1245.4, "USD", ("2026-01",))


async def test_october_has_only_its_own_training(ledger: Ledger) -> None:
    await a_clinic(ledger)
    view = await cost(ledger.tenancy, TENANT, Month(2026, 10), read_prices(EXAMPLE))
    assert (view.inference, view.training, view.storage, view.adaptation_share) == (0.0, 15.0, 0.0, None)


# --- budgets


async def _budget(ledger: Ledger, amount: float | None, on_budget: str) -> Budgets:
    def given(state: TenantState) -> TenantState:
        return state.evolve(policy=state.policy.evolve(monthly_budget=amount, on_budget=on_budget))

    await ledger.tenancy.states.swap(TENANT, given)
    return Budgets(ledger.tenancy, read_prices(EXAMPLE), ledger.ports.counters, ledger.ports.spenders)


async def _answers(ledger: Ledger) -> bool:
    """Whether a replica that reads the state now answers."""
    try:
        await TenantStateCache(ledger.tenancy, 0.0).spending(TENANT)
    except RequestRefused as refusal:
        assert (refusal.status, refusal.code) == (429, "insufficient_quota")
        assert refusal.headers == {"x-should-retry": "false", "Retry-After": str(6 * 86_400 + 43_200 + 1)}
        return False
    return True


def _percents(caplog: pytest.LogCaptureFixture) -> list[tuple[int, bool]]:
    return [(vars(r)["percent"], vars(r)["stops"]) for r in caplog.records if r.message == "budget reached"]


async def test_a_budget_warns_at_80_percent_and_stops_at_100_if_told(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    budgets = await _budget(ledger, 60.0, "stop")
    for run in range(3):
        await train(ledger, f"run-{run}", NOON)
    await budgets.reconcile()
    assert (_percents(caplog), await _answers(ledger)) == ([], True)
    await train(ledger, "run-3", NOON)
    assert await _answers(ledger), "nobody has looked yet"
    await budgets.reconcile()
    assert (_percents(caplog), await _answers(ledger)) == ([(100, True)], False)
    rev = (await ledger.tenancy.states.read(TENANT)).state.rev
    await train(ledger, "run-4", NOON)
    await budgets.reconcile()
    assert (await ledger.tenancy.states.read(TENANT)).state.rev == rev, "it is known"


async def test_eighty_percent_is_said_once_and_a_budget_that_only_warns_stops_nothing(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    budgets = await _budget(ledger, 37.5, "warn")
    for run in range(4):
        await train(ledger, f"run-{run}", NOON)
        await budgets.reconcile()
    assert _percents(caplog) == [(80, False), (100, False)]
    assert await _answers(ledger)


async def test_a_raised_budget_and_a_new_month_are_served_at_once(ledger: Ledger) -> None:
    budgets = await _budget(ledger, 15.0, "stop")
    await train(ledger, "run-0", NOON)
    await budgets.reconcile()
    assert not await _answers(ledger)
    await _budget(ledger, 150.0, "stop")
    assert await _answers(ledger)
    await _budget(ledger, 15.0, "stop")
    assert not await _answers(ledger)
    ledger.now = NOON.replace(month=12)
    assert await _answers(ledger)


async def test_a_tenant_that_cannot_be_looked_at_is_looked_at_again_and_holds_up_no_other(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    budgets = await _budget(ledger, 15.0, "stop")
    await train(ledger, "run-0", NOON)
    without = replace(
        budgets,
        prices=read_prices(EXAMPLE).evolve(prices=prices({"version": "late", "valid_from": "2027-01-01"}).prices),
    )
    await without.reconcile()
    assert "no prices were valid" in vars(caplog.records[-1])["error"]
    await budgets.reconcile()
    assert not await _answers(ledger)


async def test_without_a_price_file_a_budget_is_said_to_be_compared_with_nothing(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    budgets = replace(await _budget(ledger, 15.0, "stop"), prices=None)
    await train(ledger, "run-0", NOON)
    await budgets.reconcile()
    assert [record.message for record in caplog.records] == ["budget without prices"]
    assert await _answers(ledger)
