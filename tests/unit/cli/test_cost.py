"""``sano cost``: what a month cost, as text and as JSON, and what is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from schemas.bus.events import UsageRecorded
from schemas.objects import object_keys
from schemas.objects.usage import KeptUsage
from tests.unit.cli.command import TENANT, Sano, error_line, shape
from tests.unit.operator_parts import NOW, Parts

PRICES = str(Path(__file__).parents[3] / "deploy" / "examples" / "prices.yaml")
MONTH = ("--tenant", "t1", "--month", f"{NOW:%Y-%m}")


async def used(parts: Parts) -> None:
    store = await parts.tenancy.store(TENANT)
    records = [
        UsageRecorded(usage_id="r1", source="training", training_tokens=7),
        UsageRecorded(usage_id="u1", source="inference", prompt_tokens=2_000_000, completion_tokens=1_000_000),
    ]
    for record in records:
        kept = KeptUsage(at=NOW, usage=record)
        await store.put_record(object_keys.usage(record.usage_id), kept)


def test_a_month_is_priced_and_says_what_adaptation_adds(sano: Sano, parts: Parts) -> None:
    asyncio.run(used(parts))
    found = shape(sano("cost", *MONTH, "--prices", PRICES, "--json"))
    assert (found["inference"], found["training"], found["storage"], found["total"]) == (30.0, 15.0, 0.0, 45.0)
    assert (found["adaptation"], found["adaptation_share"], found["price_versions"]) == (15.0, 0.5, ["2026-01"])
    facts = dict(line.split(":", 1) for line in sano("cost", *MONTH, "--prices", PRICES).stdout.splitlines())
    assert facts["inference"].strip() == "30.00 USD"
    assert facts["adaptation"].strip() == "15.00 USD, 50.0% of inference"
    assert "budget" not in facts


def test_a_budget_and_how_much_of_it_is_used_are_shown(sano: Sano, parts: Parts) -> None:
    asyncio.run(used(parts))
    sano("tenant", "policy", "set", "t1", "--monthly-budget", "60", "--on-budget", "stop")
    found = shape(sano("cost", *MONTH, "--prices", PRICES, "--json"))
    assert (found["budget"], found["budget_used"], found["on_budget"]) == (60.0, 0.75, "stop")
    assert "60.00 USD, 75% used; at 100 %: stop" in sano("cost", *MONTH, "--prices", PRICES).stdout


@pytest.mark.parametrize("month", ["2026-13", "november"])
def test_what_is_no_month_is_wrong_usage(sano: Sano, month: str) -> None:
    error_line(sano("cost", "--tenant", "t1", "--month", month, "--prices", PRICES), 2)


def test_without_prices_the_error_says_where_they_come_from(sano: Sano) -> None:
    assert "SANO_PRICE_FILE" in error_line(sano("cost", *MONTH), 1)
