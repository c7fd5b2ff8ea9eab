"""Prices a tenant's usage of a month: each day's by the version of the prices that was valid on it."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from schemas.bus.events import UsageSource
from schemas.objects import object_keys
from schemas.objects.usage import DATABASE_AREA, KeptUsage, UsageDay, UsageSum, amounts_of
from schemas.tenant.prices import PriceFile, Prices
from tenancy.errors import Refused
from tenancy.platform.concurrency import gathered
from tenancy.platform.given_files import read_given
from tenancy.storage.tenant_store import TenantStore

ANSWERING: tuple[UsageSource, ...] = ("inference", "knowledge")
MILLION, HOUR, GIB = Decimal(1_000_000), Decimal(3600), Decimal(2**30)
_MONTH = re.compile(r"(20[0-9]{2})-(0[1-9]|1[0-2])", re.ASCII)

MonthUsage = Mapping[date, Mapping[UsageSource, UsageSum]]
"""What was used on each day."""


@dataclass(frozen=True)
class Month:
    """A month of UTC."""

    year: int
    number: int

    @classmethod
    def named(cls, text: str) -> Self:
        """Of ``YYYY-MM``. Raises :class:`Refused`."""
        found = _MONTH.fullmatch(text)
        if found is None:
            raise Refused("bad-month", "refused: a month is YYYY-MM")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of(cls, moment: datetime) -> Self:
        utc = moment.astimezone(UTC)
        return cls(utc.year, utc.month)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.number:02d}"

    @property
    def days(self) -> list[date]:
        return [date(self.year, self.number, day + 1) for day in range(calendar.monthrange(self.year, self.number)[1])]


@dataclass(frozen=True)
class Costs:
    """In the price file's currency. ``versions`` of the prices, in the order in which they were valid."""

    inference: Decimal = Decimal(0)
    training: Decimal = Decimal(0)
    storage: Decimal = Decimal(0)
    versions: tuple[str, ...] = ()

    @property
    def adaptation(self) -> Decimal:
        """What an adapter of the tenant's own adds to answers by the base model: its trainings, and what is stored."""
        return self.training + self.storage

    @property
    def total(self) -> Decimal:
        return self.inference + self.adaptation


async def month_usage(store: TenantStore, month: Month) -> MonthUsage:
    """The month's records: at most one for each day, and those that are kept by themselves, of all time."""
    days = {f"{day:%Y%m%d}": day for day in month.days}
    used: dict[date, dict[UsageSource, UsageSum]] = {}

    def add(day: date, source: UsageSource, amounts: UsageSum) -> None:
        held = used.setdefault(day, {})
        held[source] = held.get(source, UsageSum()).plus(amounts)

    async def sums_of(name: str) -> UsageDay:
        return (await store.find_record(object_keys.usage_day(name), UsageDay))[0] or UsageDay()

    kept_names = [name async for name in store.list("usage") if not name.startswith(object_keys.USAGE_DAYS)]
    day_records = await gathered(sums_of(name) for name in days)
    kept = await gathered(store.get_record(name, KeptUsage) for name in kept_names)
    for day, record in zip(days.values(), day_records, strict=True):
        for source, amounts in record.sums.items():
            add(day, source, amounts)
    for usage, _ in kept:
        day = usage.at.astimezone(UTC).date()
        if Month.of(usage.at) == month:
            add(day, usage.usage.source, amounts_of(usage.usage))
    return used


def cost_of(usage: MonthUsage, month: Month, file: PriceFile) -> Costs:
    """Raises :class:`Refused` for usage of a day before the first prices."""
    costs = Costs()
    for day, sums in sorted(usage.items()):
        prices = file.valid_on(day)
        if prices is None:
            raise Refused("no-price", f"refused: no prices were valid on {day}; add a version to the price file")
        versions = costs.versions if prices.version in costs.versions else (*costs.versions, prices.version)
        costs = Costs(
            costs.inference + sum(_inference(sums.get(source, UsageSum()), prices) for source in ANSWERING),
            costs.training + _training(sums.get("training", UsageSum()), prices),
            costs.storage + _storage(sums.get("storage", UsageSum()), prices, len(month.days)),
            versions,
        )
    return costs


def _inference(used: UsageSum, prices: Prices) -> Decimal:
    each = prices.inference
    cached = min(used.cached_tokens, used.prompt_tokens)
    tokens = (
        (used.prompt_tokens - cached) * each.per_million_prompt_tokens
        + cached * _own_or(each.per_million_prompt_tokens, each.per_million_cached_tokens)
        + used.completion_tokens * each.per_million_completion_tokens
        + used.embedding_tokens * _own_or(each.per_million_prompt_tokens, each.per_million_embedding_tokens)
    )
    return tokens / MILLION + Decimal(str(used.gpu_seconds)) / HOUR * each.per_gpu_hour


def _training(used: UsageSum, prices: Prices) -> Decimal:
    each = prices.training
    return (
        used.records * each.per_run
        + used.training_tokens / MILLION * each.per_million_tokens
        + Decimal(str(used.gpu_seconds)) / HOUR * each.per_gpu_hour
    )


def _storage(used: UsageSum, prices: Prices, days: int) -> Decimal:
    each = prices.storage
    in_database = used.byte_days.get(DATABASE_AREA, 0)
    in_bucket = sum(used.byte_days.values()) - in_database
    database_price = _own_or(each.per_gib_month, each.database_per_gib_month)
    return (in_bucket * each.per_gib_month + in_database * database_price) / GIB / days


def _own_or(common: Decimal, own: Decimal | None) -> Decimal:
    return common if own is None else own


def read_prices(path: Path) -> PriceFile:
    """The price file, YAML or JSON. Raises :class:`Refused`."""
    import yaml

    body = read_given(path, "bad-prices", "")
    try:
        return PriceFile.model_validate(yaml.safe_load(body.decode()))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise Refused("bad-prices", f"refused: {path}: {where}: {problem['msg']}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise Refused("bad-prices", f"refused: {path} is not YAML") from None
