"""vLLM's integer ids of adapters: never given again, and forgotten when the engine does not list them any more."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inference.engine.errors import AdapterLoadFailed
from inference.engine.loaded_adapters import LoadedAdapters
from schemas.models.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from tests.fixtures.verified import verified


def digest(number: int) -> str:
    return f"{number:064x}"


@dataclass
class Llm:
    """vLLM's engine as far as adapters go: it refuses those whose directory is named ``refused``."""

    ids: set[int] = field(default_factory=set)
    given: list[int] = field(default_factory=list)
    keeps: bool = False
    errored: bool = False

    async def add_lora(self, request: Any) -> bool:
        self.given.append(request.lora_int_id)
        if request.lora_path.endswith("refused"):
            raise ValueError("no")
        self.ids.add(request.lora_int_id)
        return True

    async def remove_lora(self, lora_id: int) -> bool:
        if not self.keeps:
            self.ids.discard(lora_id)
        return True

    async def list_loras(self) -> set[int]:
        return set(self.ids)

    async def collective_rpc(self, method: str, args: tuple[Any, ...]) -> list[Any]:
        if method == "forget_lora_and_overwrite":
            await self.remove_lora(args[0])
            return [{"removed": True, "slots_clear": True}]
        return [args[0]]

    async def reset_prefix_cache(self) -> bool:
        return True


@dataclass
class Request:
    lora_name: str
    lora_int_id: int
    lora_path: str


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Llm:
    for name in ("vllm", "vllm.lora"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    requests = ModuleType("vllm.lora.request")
    requests.LoRARequest = Request  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm.lora.request", requests)
    return Llm()


def _adapters(llm: Llm) -> LoadedAdapters:
    return LoadedAdapters(llm, {}, capacity=4, running=lambda _: 0)


def _directory(root: Path, name: str) -> Path:
    made = root / name
    made.mkdir(exist_ok=True)
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        (made / file).touch()
    return made


async def test_the_engines_ids_are_forgotten_when_it_lists_them_no_more_and_never_given_again(
    llm: Llm, tmp_path: Path
) -> None:
    adapters, directory = _adapters(llm), _directory(tmp_path, "good")
    for number in range(100):
        await adapters.load(digest(number), directory, verified)
        evicted = await adapters.evict(digest(number), scrub=number % 2 == 0)
        assert evicted.remaining == ()
    assert adapters._digests == {}
    assert len(set(llm.given)) == len(llm.given) == 100


async def test_loads_that_fail_leave_no_more_than_a_few_ids(llm: Llm, tmp_path: Path) -> None:
    adapters, directory = _adapters(llm), _directory(tmp_path, "refused")
    for number in range(100):
        with pytest.raises(AdapterLoadFailed):
            await adapters.load(digest(number), directory, verified)
    assert len(adapters._digests) <= 9
    assert len(set(llm.given)) == len(llm.given) == 100


async def test_an_adapter_that_the_engine_keeps_against_orders_keeps_its_name(llm: Llm, tmp_path: Path) -> None:
    adapters, directory = _adapters(llm), _directory(tmp_path, "good")
    llm.keeps = True
    await adapters.load(digest(1), directory, verified)
    await adapters.load(digest(2), directory, verified)
    assert (await adapters.evict(digest(1), scrub=True)).remaining == (digest(1), digest(2))
    assert (await adapters.evict(digest(2), scrub=True)).remaining == (digest(1), digest(2))


async def test_the_engine_that_follows_a_dead_one_is_not_given_its_ids(llm: Llm, tmp_path: Path) -> None:
    directory = _directory(tmp_path, "good")
    for _ in range(3):
        llm.ids.clear()
        await _adapters(llm).load(digest(1), directory, verified)
    assert len(set(llm.given)) == 3
