"""The placement that a test uses."""

from __future__ import annotations

import pytest

from tests.unit.placement.strict_parts import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
