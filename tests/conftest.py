"""Fixtures and markers for all tests."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.fixtures.services", "tests.fixtures.platform"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kafka: uses Apache Kafka (needs java and mvn)")
    config.addinivalue_line("markers", "engine: starts the vLLM engine (half a minute, 2 GiB)")
    config.addinivalue_line("markers", "slow: takes more than ten seconds")
