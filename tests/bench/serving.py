"""A serving replica without its HTTP server and bus, and vLLM's own way in the same engine beside it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.adapters.adapter_files import AdapterFiles, FetchedAdapter
from inference.adapters.placement import Placement
from inference.adapters.residency import Residency, ResidencyPolicy
from inference.adapters.switching import Switching
from inference.api.answers import Answers
from inference.engine.engine import Engine
from inference.engine.grammars import Grammars
from inference.replica.lease import ReplicaLease
from inference.tenants.answer_ids import AnswerIds
from inference.tenants.binding import Salts, TenantStateCache
from inference.tenants.usage import UsageMeter
from schemas.models.adapter_files import CONFIG_FILE, WEIGHTS_FILE, linear_shapes
from schemas.models.model_digest import model_digest
from tenancy.bootstrap import Tenancy
from tenancy.tenant_id import TenantId
from tests.bench.random_adapters import RANK
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.retrieval import retrieval
from tests.fixtures.turns import turns

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

PEER_RANGE_BYTES, PEER_AT_ONCE = 4 * 2**20, 4  # as ours
PEER_IDS = 1_000_000  # far from the ids that the engine gives, which begin at 1
_numbers = itertools.count(1)


def body(tokens: int) -> dict[str, Any]:
    """A question that nobody asked before, so that no block of it lies in the prefix cache."""
    question = f"{next(_numbers)}: what must be written on the label of a sample, and who takes it to the laboratory?"
    return {
        "messages": [{"role": "user", "content": question}],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }


def has_text(event: bytes) -> bool:
    """Whether a server-sent event carries text of the answer; the first one only names the role."""
    if not event.startswith(b"data: {"):
        return False
    choices = json.loads(event.removeprefix(b"data: ")).get("choices")
    return bool(choices and choices[0]["delta"].get("content"))


@dataclass
class TimedFiles:
    """The replica's adapter files; remembers how long the last fetch took."""

    inner: AdapterFiles
    fetch_ms: float = 0.0

    async def fetch(self, tenant: TenantId, digest: str) -> FetchedAdapter:
        started = time.perf_counter()
        fetched = await self.inner.fetch(tenant, digest)
        self.fetch_ms = (time.perf_counter() - started) * 1000
        return fetched

    def remove(self, digest: str) -> bool:
        return self.inner.remove(digest)

    async def at_rest(self) -> None:
        """Wait for the file that is made after a fetch: it takes a processor."""
        if (making := self.inner.spare._making) is not None:
            await making


@dataclass
class Replica:
    """Our path: what a request goes through from the verified tenant on."""

    engine: Engine
    tenancy: Tenancy
    files: TimedFiles
    placement: Placement
    views: TenantStateCache
    answers: Answers
    load_ms: list[float] = field(default_factory=list)

    @classmethod
    async def made(
        cls,
        engine: Engine,
        tenancy: Tenancy,
        signer: AllKeys,
        base_model: Path,
        root: Path,
        residents: int,
        max_rank: int = RANK,
    ) -> Replica:
        base_digest = model_digest(base_model)
        files = TimedFiles(
            AdapterFiles(
                tenancy=tenancy,
                verifier=signer.trust,
                root=root,
                base_model_digest=base_digest,
                base_shapes=linear_shapes(base_model),
                max_rank=max_rank,
            )
        )
        loads: list[float] = []
        placement = Placement(
            engine=engine,
            files=files,
            residency=Residency(ResidencyPolicy(max_resident=residents, idle_seconds=3600), time.monotonic),
            drain_seconds=5.0,
            on_loaded=lambda _tenant, _digest, seconds: loads.append(seconds * 1000),
        )
        views = TenantStateCache(tenancy, 1.0)
        lease = ReplicaLease(tenancy, "bench", base_digest, 7200.0, tenancy.clock())
        await lease.renew()
        answers = Answers(
            engine,
            Grammars.of(base_model),
            views,
            placement,
            Switching(placement),
            lease,
            UsageMeter(),
            Salts(),
            turns(),
            retrieval(tenancy),
            AnswerIds(tenancy, views.require_admitted).new,
        )
        return cls(engine, tenancy, files, placement, views, answers, loads)

    async def first_token_ms(self, tenant: TenantId, tokens: int = 4) -> float:
        """From the verified request to the first text of its streamed answer, which is then read to its end."""
        started = time.perf_counter()
        answer = await self.answers.answer(tenant, "chat", body(tokens))
        if isinstance(answer.body, dict):
            raise RuntimeError("the answer was not streamed")
        return await _first_text_ms(answer.body, started)


@dataclass
class PlainVllm:
    """The peer: GetObject in parallel ranges, vLLM's ``add_lora`` from the folder ``root``, and its own serving class.
    ``engine`` is shared with ours.
    """

    engine: Engine
    client: S3Client
    bucket: str
    root: Path
    load_ms: float = 0.0
    _ids: Any = field(default_factory=lambda: itertools.count(PEER_IDS))
    _loaded: dict[str, int] = field(default_factory=dict)
    _bytes: dict[str, int] = field(default_factory=dict)
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(PEER_AT_ONCE, "peer"))

    async def upload(self, name: str, folder: Path) -> None:
        """The weights to the bucket as they are; the configuration lies in its folder already."""
        weights = (folder / WEIGHTS_FILE).read_bytes()
        await asyncio.to_thread(self.client.put_object, Bucket=self.bucket, Key=name, Body=weights)
        self._bytes[name] = len(weights)
        (self.root / name).mkdir(parents=True)
        (self.root / name / CONFIG_FILE).write_bytes((folder / CONFIG_FILE).read_bytes())

    async def load(self, name: str) -> None:
        """GetObject in parallel, then add_lora; ``load_ms`` says how long it took. The size is known beforehand."""
        from vllm.lora.request import LoRARequest

        started = time.perf_counter()

        weights = self.root / name / WEIGHTS_FILE
        await asyncio.to_thread(
            get_in_ranges, self.client, self.bucket, name, self._bytes[name], weights, self._threads
        )
        request = LoRARequest(lora_name=name, lora_int_id=next(self._ids), lora_path=str(self.root / name))
        if not await self.engine._llm.add_lora(request):
            raise RuntimeError("vLLM did not add the adapter")
        self._loaded[name] = request.lora_int_id
        self._names()[name] = request
        self.load_ms = (time.perf_counter() - started) * 1000

    async def first_token_ms(self, name: str, tokens: int = 4) -> float:
        """From GetObject to the first text of vLLM's streamed answer, which is then read to its end."""
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

        started = time.perf_counter()
        await self.load(name)
        request = ChatCompletionRequest(model=name, **body(tokens))
        events = await self.engine._serving.openai_serving_chat.create_chat_completion(request)
        return await _first_text_ms(_encoded(events), started)

    async def remove(self, name: str) -> None:
        """Take it out of the engine, and its files away."""
        await self.unload(name)
        await asyncio.to_thread(shutil.rmtree, self.root / name)

    async def unload(self, name: str) -> None:
        """Take it out of the engine; it can be loaded again."""
        self._names().pop(name)
        await self.engine._llm.remove_lora(self._loaded.pop(name))
        (self.root / name / WEIGHTS_FILE).unlink()

    def _names(self) -> dict[str, Any]:
        names: dict[str, Any] = self.engine._serving.openai_serving_models.lora_requests
        return names


def get_in_ranges(client: S3Client, bucket: str, key: str, size: int, path: Path, threads: ThreadPoolExecutor) -> None:
    """An object of a known size into a file, by GetObject in parallel."""
    with path.open("wb") as file:

        def part(start: int) -> None:
            told = f"bytes={start}-{min(start + PEER_RANGE_BYTES, size) - 1}"
            answer = client.get_object(Bucket=bucket, Key=key, Range=told)
            os.pwrite(file.fileno(), answer["Body"].read(), start)

        list(threads.map(part, range(0, size, PEER_RANGE_BYTES)))


async def _encoded(events: Any) -> AsyncGenerator[bytes, None]:
    async for event in events:
        yield event.encode()


async def _first_text_ms(events: Any, started: float) -> float:
    first = None
    async with aclosing(events):
        async for event in events:
            if first is None and has_text(event):
                first = (time.perf_counter() - started) * 1000
    if first is None:
        raise RuntimeError("the answer had no text")
    return first


@dataclass
class Decoding:
    """Another tenant's answer while it is generated; ``times``: when each of its tokens came."""

    times: list[float] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    def longest_gap_ms(self) -> float:
        """The longest wait between two tokens, the first few left out: their prompt is still being read."""
        times = self.times[WARM_TOKENS:]
        return max(after - before for before, after in itertools.pairwise(times)) * 1000


WARM_TOKENS = 4


@asynccontextmanager
async def decoding(engine: Engine, adapter: str, tokens: int) -> AsyncIterator[Decoding]:
    """Generate beside what the caller does, and wait for the end."""
    watched = Decoding()
    task = asyncio.create_task(_decode(engine, adapter, tokens, watched))
    started = asyncio.create_task(watched.started.wait())
    try:
        await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
        yield watched
        await task
    finally:
        started.cancel()
        task.cancel()
        await asyncio.wait({task, started})


async def _decode(engine: Engine, adapter: str, tokens: int, watched: Decoding) -> None:
    stream = await engine.chat(
        body(tokens), owner="decoding", adapter=adapter, cache_salt="5a17", request_id=f"decoding-{next(_numbers)}"
    )
    if isinstance(stream, dict):
        raise RuntimeError("the answer was not streamed")
    async with aclosing(stream):
        async for event in stream:
            if b'"choices"' in event:
                watched.times.append(time.perf_counter())
            if len(watched.times) > WARM_TOKENS:
                watched.started.set()
