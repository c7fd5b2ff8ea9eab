"""The suite of every engine, on each fake. On vLLM it runs in tests/integration/test_engine.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.adapter_engine import AdapterEngineContract, Subject
from tests.unit.api.replica import AnsweringEngine
from tests.unit.placement.strict_parts import StrictEngine, steps
from tests.unit.test_supervisor import World as Supervised
from tests.world.fakes import FakeEngine

CAPACITY = 4
ADAPTERS = {name * 64: Path("/nowhere") / name for name in "abcde"}


@pytest.fixture(params=["world", "answering", "supervised", "strict"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "strict":
        strict, answers = StrictEngine([], CAPACITY), []

        async def begin(digest: str, owner: str) -> None:
            answers.append(asyncio.create_task(strict.answer(digest, 1_000_000, owner)))
            await steps(1)

        yield Subject(strict, CAPACITY, ADAPTERS, begin)
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)
    elif request.param == "supervised":
        world = Supervised()
        await world.engine.start()
        world.life.capacity = CAPACITY
        yield Subject(world.engine, CAPACITY, ADAPTERS, world.life.begin)
        await world.engine.close()
        await world.life.flights.end_all()
    else:
        fake = {"world": FakeEngine, "answering": AnsweringEngine}[request.param](capacity=CAPACITY)
        yield Subject(fake, CAPACITY, ADAPTERS, fake.begin)
        await fake.flights.end_all()


class TestFakeEngines(AdapterEngineContract):
    pass
