"""Two ways of asking one engine: through the fair queue, as a replica does, and all at once, as vLLM's server does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from inference.adapters.switching import Switching
from inference.api.answers import Answers
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.tenants.binding import Salts
from inference.tenants.fair_queue import Capacity, FairQueue
from inference.tenants.turns import Turns
from inference.tenants.usage import UsageMeter
from schemas.objects.state import TenantState
from tenancy.tenant_id import TenantId
from tests.bench import base_models, random_adapters
from tests.bench.frame import ENTRY_SECONDS, Options, say
from tests.bench.serving import body
from tests.fixtures.answer_ids import any_id
from tests.fixtures.verified import verified

CONTEXT = 256


class Ask(Protocol):
    """Ask for one answer and read it; the seconds that took."""

    def __call__(self, tenant: TenantId, adapter: str | None, tokens: int = 8) -> Awaitable[float]: ...


class _Stands:
    """Stands in for views, placement, lease and retrieval: each tenant has the adapter of its name, loaded, or none."""

    def __init__(self, adapters: dict[TenantId, str]) -> None:
        self.adapters = adapters

    async def spending(self, tenant: TenantId) -> TenantState:
        return TenantState(tenant=tenant, nonce="n")

    async def adapter(self, tenant: TenantId, model: object, conversation: object) -> str | None:
        return self.adapters.get(tenant)

    def require_admitted(self, tenant: TenantId) -> None:
        return None

    async def applied(self, *_: object) -> None:
        return None

    def is_held(self) -> bool:
        return True

    @asynccontextmanager
    async def held(self, tenant: TenantId, digest: str) -> AsyncIterator[None]:
        yield


@dataclass
class Bench:
    """One engine, what waits in front of it on our side, and what is noted beside. ``own_seconds``: what one request
    takes by itself.
    """

    engine: Engine
    capacity: Capacity
    own_seconds: float = 1.0
    more: dict[str, list[float]] = field(default_factory=dict)

    async def loaded(self, folders: Sequence[Path]) -> list[TenantId]:
        """Tenants, of whom each has the adapter of one of these folders, by its own name."""
        tenants = [TenantId(f"adapted-{folder.name}") for folder in folders]
        for tenant, folder in zip(tenants, folders, strict=True):
            await self.engine.load(str(tenant), folder, verified)
        return tenants

    def note(self, name: str, value: float) -> float:
        self.more.setdefault(name, []).append(value)
        return value

    def through_turns(self, adapters: dict[TenantId, str]) -> Ask:
        stands: Any = _Stands(adapters)
        turns = Turns(FairQueue(self.capacity), longest=CONTEXT)
        answers = Answers(
            self.engine, stands, stands, stands, Switching(stands), stands, UsageMeter(), Salts(), turns, stands, any_id
        )

        async def ask(tenant: TenantId, adapter: str | None, tokens: int = 8) -> float:
            started = time.perf_counter()
            answer = await answers.answer(tenant, "chat", body(tokens))
            await _read(answer.body)
            return time.perf_counter() - started

        return ask

    def at_once(self) -> Ask:
        numbers = iter(range(1_000_000))

        async def ask(tenant: TenantId, adapter: str | None, tokens: int = 8) -> float:
            started = time.perf_counter()
            made = await self.engine.chat(
                body(tokens), owner=tenant, adapter=adapter, cache_salt="5a17", request_id=f"plain-{next(numbers)}"
            )
            await _read(made)
            return time.perf_counter() - started

        return ask


@asynccontextmanager
async def opened(options: Options, base_model: Path, *, places: int, slots: int, adapters: int) -> AsyncIterator[Bench]:
    """A started engine with ``places`` sequences in a batch, and room for so many adapters. Within the entry's time."""
    engine = Engine(
        EngineConfig(
            base_model=base_model,
            max_loras=slots,
            max_cpu_loras=max(slots, adapters),
            max_lora_rank=random_adapters.RANK,
            max_model_len=CONTEXT,
            max_num_seqs=places,
            kv_cache_gib=base_models.kv_cache_gib(options),
        )
    )
    async with asyncio.timeout(ENTRY_SECONDS):
        say("  starting the engine")
        try:
            await engine.start()
            yield Bench(engine, Capacity.of(places, slots, CONTEXT))
        finally:
            await engine.close()


async def _read(stream: Any) -> None:
    async with aclosing(stream):
        async for _ in stream:
            pass
