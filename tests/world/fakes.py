"""Stand-ins for what takes minutes or a GPU. Their results depend on nothing but their input."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from consumers.training.base_model import BaseModel
from consumers.training.processor import Processor
from consumers.training.result import StepProgress, TrainingResult, TrainingStopped
from consumers.training.tokenization import TrainingExample
from inference.adapters.adapter_files import FetchedAdapter
from inference.engine.errors import AdapterInUse, EngineFull
from inference.engine.in_flight import Flight, Flights
from inference.engine.loaded_adapters import Eviction, Verify
from schemas.models.adapter_files import config_sha256, naming_run, weights_sha256
from schemas.tenant.hyperparameters import Hyperparameters
from tenancy.tenant_id import TenantId
from tests.fixtures.verified import verified

_request_ids = (f"fake-{number}" for number in itertools.count())

BASE = BaseModel(Path("/nowhere/base"), "b" * 64)


@dataclass
class FakeTrainer:
    """Weights are a hash of the examples, so that the same set gives the same weights and another set others.

    ``refuses`` says why it takes no example whose text holds some word; ``fails`` is what each training ends with;
    ``steps`` are reported of each.
    """

    model_name: str = "base"
    trained: list[tuple[str, ...]] = field(default_factory=list)
    refuses: dict[str, str] = field(default_factory=dict)
    fails: Exception | None = None
    steps: int = 0

    def base_model(self) -> BaseModel:
        return BASE

    def refused(
        self, examples: Sequence[TrainingExample], base: BaseModel, hyperparameters: Hyperparameters
    ) -> Mapping[str, str]:
        return {
            example.example_id: code
            for example in examples
            for word, code in self.refuses.items()
            if any(word in message.content for message in example.messages)
        }

    def train(
        self,
        examples: Sequence[TrainingExample],
        base: BaseModel,
        hyperparameters: Hyperparameters,
        run_id: str,
        output_dir: Path,
        progress: Callable[[StepProgress], None],
        should_stop: Callable[[], bool],
    ) -> TrainingResult:
        if should_stop():
            raise TrainingStopped
        if self.fails is not None:
            raise self.fails
        rate = hyperparameters.learning_rate
        for step in range(1, self.steps + 1):
            progress(StepProgress(step=step, total_steps=self.steps, loss=1.0, learning_rate=rate, tokens=1))
        ids = tuple(example.example_id for example in examples)
        self.trained.append(ids)
        output_dir.mkdir(parents=True)
        texts = "\n".join(message.content for example in examples for message in example.messages)
        weights = hashlib.sha256(texts.encode()).digest()
        config = json.dumps(naming_run({"r": hyperparameters.r}, run_id)).encode()
        (output_dir / "adapter_model.safetensors").write_bytes(weights)
        (output_dir / "adapter_config.json").write_bytes(config)
        return TrainingResult(
            output_dir=output_dir,
            config_sha256=config_sha256(config),
            weights_sha256=weights_sha256(weights),
            trained_ids=ids,
            heldout_ids=(),
            heldout_loss_before=None,
            heldout_loss_after=None,
            tokens=len(texts),
            seconds=1.0,
            processor=Processor(device="cpu", description="fake", precision="float32"),
            library_versions={},
        )


@dataclass
class FakeEngine:
    """Remembers which adapters are loaded and in which order things were done to them.

    Its requests are in flight as the real ones are. ``running`` are others, of an adapter or an owner, by number.
    """

    names: dict[str, Path] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    running: dict[str, int] = field(default_factory=dict)
    capacity: int = 1_000
    flights: Flights = field(init=False)

    def __post_init__(self) -> None:
        self.flights = Flights(self._abort)

    async def _abort(self, engine_ids: list[str]) -> None:
        await asyncio.sleep(0)

    def require_running(self) -> None:
        return None

    async def begin(self, digest: str, owner: str) -> None:
        """A request that goes on until it is ended."""
        self.flights.start(Flight(next(_request_ids), digest, [], owner), asyncio.Event().wait())

    def loaded(self) -> tuple[str, ...]:
        return tuple(self.names)

    async def listed(self) -> tuple[str, ...]:
        return tuple(self.names)

    def inflight(self, digest: str) -> int:
        return self.running.get(digest, 0) + self.flights.count(digest)

    async def load(self, digest: str, directory: Path, verify: Verify) -> None:
        if digest not in self.names and len(self.names) >= self.capacity:
            raise EngineFull(self.capacity)
        await verify()
        self.calls.append(("load", digest))
        self.names[digest] = directory

    async def evict(self, digest: str, *, scrub: bool) -> Eviction:
        if running := self.inflight(digest):
            raise AdapterInUse(digest, running)
        self.calls.append(("evict", digest))
        was_loaded = self.names.pop(digest, None) is not None
        return Eviction(digest, was_loaded, scrub, scrub, tuple(self.names))

    async def abort_all(self, digest: str) -> int:
        self.calls.append(("abort", digest))
        return self.running.pop(digest, 0) + await self.flights.abort(digest)

    def inflight_of(self, owner: str) -> int:
        return self.running.get(owner, 0) + self.flights.count_of(owner)

    async def abort_all_of(self, owner: str) -> int:
        return self.running.pop(owner, 0) + await self.flights.abort_of(owner)

    async def reset_prefix_cache(self) -> bool:
        return True


@dataclass
class FakeFiles:
    """Adapter files that exist only by name."""

    held: set[str] = field(default_factory=set)

    async def fetch(self, tenant: TenantId, digest: str) -> FetchedAdapter:
        self.held.add(digest)
        return FetchedAdapter(Path("/nowhere") / digest, verified)

    def remove(self, digest: str) -> bool:
        self.held.discard(digest)
        return True
