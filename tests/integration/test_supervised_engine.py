"""The real engine is killed under a replica's routes: the same process starts it again and answers as before.

One engine after another, each in processes of its own that are killed by their handles, so the tests run in order.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from inference.adapters.adapter_files import FetchedAdapter
from inference.adapters.placement import Placement
from inference.adapters.residency import Residency, ResidencyPolicy
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.processes import left_of
from inference.engine.supervisor import RestartPolicy, SupervisedEngine
from inference.engine.suspects import Suspects
from schemas.models.adapter_files import linear_shapes
from tenancy.errors import Transient
from tenancy.tenant_id import TenantId
from tests.bench.drawn_adapters import Drawing
from tests.fixtures.verified import verified
from tests.unit.api.replica import ACTIVE, CHAT, EARLIER, FOREIGN, OTHER, PLAIN, TENANT, Bench, bearer, code

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

BOUND_SECONDS = 400
POISON = "a poison"
QUESTIONS = ("Who may take a sample to the laboratory?", "What does a nurse write down?", "Name an organ.")
"""More than one: the adapters are drawn anew in each run, and two of them may well answer one question alike."""
"""What is in flight at two deaths."""
SPREAD = 0.1
"""Of the adapters' weights: with less they answer as the base model does."""
POLICY = RestartPolicy(first_seconds=0.1, longest_seconds=1.0)


class CopiedFiles:
    """The files of adapters, as a fetch leaves them."""

    def __init__(self, made: Path, root: Path) -> None:
        self.sources = {ACTIVE: made / "0", EARLIER: made / "1", FOREIGN: made / "2"}
        self.root = root

    async def fetch(self, tenant: TenantId, digest: str) -> FetchedAdapter:
        self.remove(digest)
        return FetchedAdapter(Path(shutil.copytree(self.sources[digest], self.root / digest)), verified)

    def remove(self, digest: str) -> bool:
        shutil.rmtree(self.root / digest, ignore_errors=True)
        return not (self.root / digest).exists()


class Replica:
    """A replica's routes, answers and placement, around the real engine under its supervisor."""

    def __init__(self, bench: Bench, config: EngineConfig, files: CopiedFiles) -> None:
        self.bench, self.files = bench, files
        self.restarted = 0
        self.engine = SupervisedEngine(lambda: Engine(config), Suspects(), POLICY, on_restarted=self._count)
        policy = ResidencyPolicy(max_resident=3, idle_seconds=600)
        self.placement = Placement(self.engine, files, Residency(policy, lambda: 0.0), 0.0)
        self.engine.on_ended = self.placement.engine_ended
        bench.answering(self.engine, bench.grammars, self.placement)

    def _count(self) -> None:
        self.restarted += 1

    @property
    def life(self) -> Engine:
        assert isinstance(self.engine._engine, Engine)
        return self.engine._engine

    def ids(self) -> set[int]:
        return set(self.life._loaded_adapters()._ids.values())

    def kill(self) -> None:
        """By the handle that vLLM holds of its own child."""
        (core,) = self.life._llm.engine_core.resources.engine_manager.processes
        core.kill()

    async def ask(self, tenant: TenantId, content: str, tokens: int = 12, model: str = "active") -> httpx.Response:
        message = {"role": "user", "content": content}
        body = {"messages": [message], "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "model": model}
        async with self.bench.client() as client:
            return await client.post(CHAT, json=body, headers=bearer(tenant), timeout=BOUND_SECONDS)

    async def text(self, tenant: TenantId, model: str = "active") -> tuple[str, str]:
        """Which adapter answered, and what."""
        answers = [await self.ask(tenant, question, model=model) for question in QUESTIONS]
        for response in answers:
            assert response.status_code == 200, response.text
        (adapter,) = {response.headers["x-sano-adapter"] for response in answers}
        return adapter, " | ".join(response.json()["choices"][0]["message"]["content"] for response in answers)

    async def killed_while_it_answers(self, content: str, begin: Callable[[], object] = lambda: None) -> httpx.Response:
        """``begin`` is called right before the death."""
        asked = asyncio.create_task(self.ask(TENANT, content, tokens=120))
        async with asyncio.timeout(BOUND_SECONDS):
            while not self.life.inflight(ACTIVE) or not self.life._llm.output_processor.request_states:
                assert not asked.done(), asked.result().text
                await asyncio.sleep(0.01)
        begin()
        await asyncio.sleep(0)
        self.kill()
        async with asyncio.timeout(BOUND_SECONDS):
            return await asked

    async def until_restarted(self, times: int) -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            while self.restarted < times:
                await asyncio.sleep(0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replica(shallow_base: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Replica]:
    made = tmp_path_factory.mktemp("made")
    drawing = Drawing(linear_shapes(shallow_base), rank=16, spread=SPREAD)
    for number in range(3):
        await asyncio.to_thread(drawing.write, made / str(number))
    bench = Bench()
    await bench.start()
    config = EngineConfig(
        base_model=shallow_base,
        max_loras=2,
        max_cpu_loras=3,
        max_lora_rank=16,
        max_model_len=512,
        kv_cache_gib=0.25,
        dtype="float32",
    )
    replica = Replica(bench, config, CopiedFiles(made, tmp_path_factory.mktemp("adapters")))
    try:
        await replica.engine.start()
        yield replica
    finally:
        await replica.engine.close()


async def test_a_killed_engine_is_started_again_and_the_same_replica_answers_as_before(replica: Replica) -> None:
    own, other, base = [(TENANT, "active"), (OTHER, "active"), (PLAIN, "base")]
    before = [await replica.text(*each) for each in (own, other, base)]
    assert [adapter for adapter, _ in before] == [ACTIVE, FOREIGN, "base"]
    assert len({text for _, text in before}) == 3
    ids, processes = replica.ids(), set(replica.life._processes)
    assert len(ids) == 2
    assert len(left_of(processes)) >= 1

    response = await replica.killed_while_it_answers(POISON)
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    meanwhile = await replica.ask(TENANT, "a question")
    assert (meanwhile.status_code, code(meanwhile)) == (503, "engine_restarting")
    assert (meanwhile.headers["retry-after"], meanwhile.json()["error"]["type"]) == ("5", "server_error")
    assert (replica.engine.is_healthy(), replica.engine.is_alive()) == (False, True)
    with pytest.raises(Transient):
        await replica.placement.remove_tenant(TenantId("t9"))

    await replica.until_restarted(1)
    assert left_of(processes) == set()
    assert list(replica.files.root.iterdir()) == []
    assert await replica.engine.listed() == ()
    assert [await replica.text(*each) for each in (own, other, base)] == before
    assert len(replica.ids()) == 2
    assert not replica.ids() & ids, "the engine's ids of adapters are never given again"


async def test_a_request_that_the_engine_dies_of_twice_is_refused_and_a_purge_that_it_dies_in_ends_on_the_next(
    replica: Replica,
) -> None:
    """The first time was in the test before. One death for both: each costs an engine."""
    before, purges = replica.restarted, list[asyncio.Task[Any]]()
    assert before == 1

    def purge() -> None:
        purges.append(asyncio.create_task(replica.placement.remove_tenant(OTHER)))

    assert (await replica.killed_while_it_answers(POISON, purge)).status_code == 503
    await asyncio.gather(*purges, return_exceptions=True)
    assert all(isinstance(one.exception(), Transient) for one in purges)
    await replica.until_restarted(before + 1)
    removal = await replica.placement.remove_tenant(OTHER)
    assert (removal.evicted, removal.remaining, removal.is_complete) == ((), (), True)
    refused = await replica.ask(TENANT, POISON, tokens=120)
    assert (refused.status_code, code(refused)) == (422, "request_ends_engine")
    assert "retry-after" not in refused.headers
    assert (await replica.ask(PLAIN, POISON, tokens=120, model="base")).status_code == 200, "not another's"
    assert (await replica.ask(OTHER, "a question")).status_code == 403
    assert (await replica.text(TENANT))[0] == ACTIVE
    assert replica.restarted == before + 1


async def test_a_replica_that_is_stopped_while_its_engine_is_started_again_leaves_nothing(replica: Replica) -> None:
    started: list[Engine] = []
    make = replica.engine._new_engine

    def noted() -> Any:
        engine = make()
        assert isinstance(engine, Engine)
        started.append(engine)
        return engine

    replica.engine._new_engine = noted
    old = replica.life
    processes, before = set(old._processes), replica.restarted
    replica.kill()
    async with asyncio.timeout(BOUND_SECONDS):
        while not started:
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        await replica.engine.close()
    assert replica.restarted == before
    for engine in (old, *started):
        assert engine.has_ended
    assert left_of(processes) == set()
