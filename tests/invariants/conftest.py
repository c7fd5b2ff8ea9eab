"""Fixtures of the invariants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.invariants.worlds import (
    NAME,
    OTHER_NAME,
    DispatchedWorld,
    Pair,
    learned,
)
from tests.world.at_once import at_once
from tests.world.world import World


@pytest.fixture(autouse=True, scope="module")
def without_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing in the world blocks, but where a module says ``NEEDS_THREADS = True``."""
    if getattr(request.module, "NEEDS_THREADS", False):
        yield
        return
    with at_once():
        yield


@pytest.fixture
async def pair(tmp_path: Path) -> Pair:
    world = World(tmp_path / "scratch")
    one, other = await world.onboard(NAME), await world.onboard(OTHER_NAME)
    digest, foreign = await learned(world, one), await learned(world, other, text="b")
    assert digest != foreign
    return Pair(world, one, other, digest, foreign)


@pytest.fixture
async def dispatched(tmp_path: Path) -> DispatchedWorld:
    world = DispatchedWorld(tmp_path)
    for name in (NAME, OTHER_NAME):
        await learned(world, await world.onboard(name), text=name)
    assert world.bus.dead == []
    return world


@pytest.fixture
def one_life_in_many_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder is the one that each copy gets a copy of."""
    (tmp_path / "life").mkdir()
    monkeypatch.chdir(tmp_path / "life")
