"""Defines the price file: versions of prices, each valid from a day on until the next one's."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId

Price = Annotated[Decimal, Field(ge=0, le=1_000_000, max_digits=18, decimal_places=9)]
NOTHING = Decimal(0)


class InferencePrices(Contract):
    """Of answers. Price tokens, or the device's time, or both: what has no price costs nothing."""

    per_million_prompt_tokens: Price = NOTHING
    per_million_cached_tokens: Price | None = Field(
        default=None, description="prompt tokens that were cached; absent: as other prompt tokens"
    )
    per_million_completion_tokens: Price = NOTHING
    per_million_embedding_tokens: Price | None = Field(
        default=None, description="what the embedder read; absent: as prompt tokens"
    )
    per_gpu_hour: Price = NOTHING


class TrainingPrices(Contract):
    per_run: Price = NOTHING
    per_million_tokens: Price = NOTHING
    per_gpu_hour: Price = NOTHING


class StoragePrices(Contract):
    per_gib_month: Price = NOTHING
    database_per_gib_month: Price | None = Field(
        default=None, description="of an index in PostgreSQL; absent: as in the bucket"
    )


class Prices(Contract):
    """One version."""

    version: OpaqueId
    valid_from: date
    inference: InferencePrices = InferencePrices()
    training: TrainingPrices = TrainingPrices()
    storage: StoragePrices = StoragePrices()


class PriceFile(Contract):
    """All versions, the oldest first, in one currency."""

    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217")
    prices: tuple[Prices, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if any(earlier.valid_from >= later.valid_from for earlier, later in pairwise(self.prices)):
            raise ValueError("prices must be in the order of valid_from, each of another day")
        if len({prices.version for prices in self.prices}) < len(self.prices):
            raise ValueError("two prices have the same version")
        return self

    def valid_on(self, day: date) -> Prices | None:
        """The version of that day; None before the first."""
        return next((prices for prices in reversed(self.prices) if prices.valid_from <= day), None)
