"""The replica that a test asks."""

from __future__ import annotations

import pytest

from tests.unit.api.replica import Bench


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.start()
    return made
