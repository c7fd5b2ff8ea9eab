"""The replica that the attacks are made on, started once, and how large they are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.attack.stand import PLAIN, Stand, standing


@dataclass(frozen=True)
class Size:
    """How much of each attack: ``make attack`` runs the full form, ``make test`` a short one."""

    requests: int
    """Of the fuzzing of the routes."""
    rounds: int
    """Of interleaved answers."""
    events: int
    """Mutations of each type of event, for each consumer."""
    files: int
    """Mutations of each file that the command reads."""
    seconds: float
    """So long an attack on memory or connections goes on."""


SHORT = Size(requests=150, rounds=4, events=4, files=8, seconds=3.0)
FULL = Size(requests=10_000, rounds=200, events=200, files=300, seconds=60.0)


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Size:
    return FULL if request.config.getoption("--attack") == "full" else SHORT


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """Every attack is drawn from it, so that a failure can be made again."""
    return int(request.config.getoption("--attack-seed"))


@pytest.fixture(scope="package")
def stand(tmp_path_factory: pytest.TempPathFactory, shallow_base: Path) -> Iterator[Stand]:
    with standing(tmp_path_factory.mktemp("attack"), shallow_base) as made:
        yield made


@pytest.fixture
def replica(stand: Stand) -> Stand:
    """The stand, which answers: what an earlier attack has broken is started anew, and is that attack's failure."""
    if asyncio.run(stand.served(PLAIN, 30.0)).status != 200:
        stand.local.restart_service("inference")
        assert asyncio.run(stand.served(PLAIN)).status == 200
    return stand


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--attack") == "full":
        return
    long = [item for item in items if item.get_closest_marker("attack_long")]
    items[:] = [item for item in items if item not in long]
    config.hook.pytest_deselected(items=long)
