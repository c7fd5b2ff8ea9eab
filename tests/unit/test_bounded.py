"""Awaiting many things at a time, and not too many."""

from __future__ import annotations

import asyncio

import pytest

from tenancy.errors import Refused
from tenancy.platform.concurrency import gathered


async def test_doing_many_things_keeps_their_order_and_stops_at_the_first_failure() -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0.001 * (number % 3))
        return number * 2

    assert await gathered(map(double, range(40))) == [number * 2 for number in range(40)]
    begun: list[int] = []

    async def fail_at_five(number: int) -> None:
        begun.append(number)
        await asyncio.sleep(0)
        if number == 5:
            raise Refused("five", "refused: five")

    with pytest.raises(Refused, match="five"):
        await gathered(map(fail_at_five, range(1000)))
    assert len(begun) < 100
