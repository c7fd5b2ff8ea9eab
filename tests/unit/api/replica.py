"""A replica's application with everything behind it but the engine and the files, and callers to ask it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

import httpx
from fastapi import FastAPI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from inference.adapters.adapter_files import FetchedAdapter
from inference.adapters.placement import Placement
from inference.adapters.residency import Residency, ResidencyPolicy
from inference.adapters.switching import Switching
from inference.api.answers import Answers
from inference.api.feedback import Feedback
from inference.api.routes import Api
from inference.engine.constrained_fields import Constraint
from inference.engine.errors import AdapterWithdrawn
from inference.engine.in_flight import EventStream, Flight
from inference.engine.ports import Asking, Response
from inference.engine.request_fields import chat_fields, completion_fields
from inference.engine.stream_usage import StreamUsage
from inference.engine.vllm_errors import error_events
from inference.knowledge.loaded_indexes import LoadedIndexes
from inference.replica.lease import ReplicaLease
from inference.tenants.answer_ids import AnswerIds
from inference.tenants.binding import Salts, TenantStateCache
from inference.tenants.credentials import Credentials
from inference.tenants.usage import UsageMeter
from schemas.objects.state import AdapterState, PurgeState, TenantState
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.errors import StoreUnavailable
from tenancy.service.health import health_app
from tenancy.service.metrics import FEEDBACK, REQUESTS
from tenancy.service.telemetry import Telemetry
from tenancy.state.spent import Spent
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import StoredObject
from tenancy.tenant_id import TenantId
from tenancy.tokens import TokenIssuer, TokenVerifier
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.embedders import WordEmbedder
from tests.fixtures.retrieval import MOST_BYTES, retrieval
from tests.fixtures.turns import turns
from tests.world.fakes import FakeEngine, FakeFiles

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
TENANT, OTHER, PLAIN, PURGED, STRANGER = (TenantId(name) for name in ("t1", "t10", "t2", "t3", "t4"))
ACTIVE, EARLIER, PUBLISHING, RETIRED = ("a" * 63 + str(number) for number in range(4))
FOREIGN, MISSING = "b" * 64, "f" * 64
OURS = AllKeys.numbered(1)
THEIRS = AllKeys.numbered(2)
TENANT_REQUESTS = 4
CHAT, COMPLETIONS, MODELS = "/v1/chat/completions", "/v1/completions", "/v1/models"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "q"}]},
    COMPLETIONS: {"prompt": "q"},
}
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
TEXT_EVENTS = [
    b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"\\"choices\\":[]"}}]}\n\n',
    b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"two"}}]}\n\n',
]
_COUNTED = re.compile(rb',"usage":(\{[^{}]*\})\}\n\n\Z')
USAGE_EVENT = b'data: {"id":"x","choices":[],"usage":' + json.dumps(USAGE).encode() + b"}\n\n"


def with_usage(event: bytes, completion: int) -> bytes:
    """The event as the engine makes it when it is asked to count in each."""
    usage = {"prompt_tokens": USAGE["prompt_tokens"], "completion_tokens": completion}
    return event.removesuffix(b"}\n\n") + b',"usage":' + json.dumps(usage).encode() + b"}\n\n"


class CountedStream(EventStream):
    """Takes events that say what was made until then, and counts that as the engine's steps are counted."""

    shows_each = False

    def put(self, *events: bytes) -> None:
        for event in events:
            counted = _COUNTED.search(event)
            if counted is None or b'"choices":[{' not in event:
                super().put(event)
                continue
            told = json.loads(counted[1])
            more = (told[f"{of}_tokens"] - getattr(self.usage, f"{of}_tokens") for of in ("prompt", "completion"))
            self.usage.computed(*more)
            super().put(event if self.shows_each else event[: counted.start()] + b"}\n\n")


COUNTED_EVENTS = [with_usage(event, count) for count, event in enumerate(TEXT_EVENTS, start=3)]
DONE = b"data: [DONE]\n\n"
WITHDRAWN = error_events(AdapterWithdrawn())


@dataclass
class Asked:
    """One request as the engine was asked it: the fields of vLLM's request, and the adapter that answers."""

    adapter: str | None
    fields: dict[str, Any]


def named(asking: Asking) -> dict[str, Any]:
    """What the server says of a request's fields."""
    own = {name: asking[name] for name in ("cache_salt", "priority", "request_id")}
    return {"model": asking["adapter"] or "base", **own}


@dataclass
class AnsweringEngine(FakeEngine):
    """The fake of the world, answering. Requests are made of the real allow-list, streams are the real ones."""

    asked: list[Asked] = field(default_factory=list)
    refusal: Exception | None = None
    stalls: bool = False
    computes: tuple[int, int] = (0, 0)
    """Tokens of prompt and answer, before it stalls amid a whole answer."""
    before_answer: Callable[[], None] = lambda: None

    async def chat(self, body: Mapping[str, Any], **asking: Unpack[Asking]) -> Response:
        return await self._answer(asking, chat_fields(body, **named(asking)), StreamUsage(body))

    async def completion(self, body: Mapping[str, Any], **asking: Unpack[Asking]) -> Response:
        return await self._answer(asking, completion_fields(body, **named(asking)), StreamUsage(body))

    async def _answer(self, asking: Asking, fields: dict[str, Any], usage: StreamUsage) -> Response:
        adapter, request_id = asking["adapter"], asking["request_id"]
        assert adapter is None or adapter in self.names, "the engine is asked for what it does not hold"
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(Asked(adapter, fields))
        self.before_answer()
        if not fields.get("stream"):
            if self.stalls:
                asking["usage"].computed(*self.computes)
                await asyncio.Event().wait()
            return {"id": "x", "model": fields["model"], "choices": [{"index": 0}], "usage": USAGE}
        flight = Flight(request_id, adapter, [request_id], asking["owner"])
        stream = CountedStream(self.flights, flight, usage)
        assert fields["stream_options"]["include_usage"]
        stream.shows_each = fields["stream_options"]["continuous_usage_stats"]
        events = [*COUNTED_EVENTS, USAGE_EVENT, DONE]
        self.flights.start(flight, self._pump(stream, events)).add_done_callback(stream.ended)
        return stream

    async def _pump(self, stream: EventStream, events: Iterable[bytes]) -> None:
        for event in events:
            stream.put(event)
            if self.stalls:
                await asyncio.Event().wait()


@dataclass
class FakeGrammars:
    """Compiles nothing: what was to be tried is noted, and refused if it is ``refusal``."""

    tried: list[tuple[str, Constraint]] = field(default_factory=list)
    refusal: Exception | None = None

    async def require(self, owner: str, constraints: Iterable[Constraint]) -> None:
        self.tried += [(owner, constraint) for constraint in constraints]
        if self.refusal is not None:
            raise self.refusal


@dataclass
class BreakableFiles(FakeFiles):
    broken: dict[str, Exception] = field(default_factory=dict)

    async def fetch(self, tenant: TenantId, digest: str) -> FetchedAdapter:
        if error := self.broken.get(digest):
            raise error
        return await super().fetch(tenant, digest)


class Registry(MemoryObjectStore):
    """An object store that can be out of reach."""

    is_down = False

    async def get(self, key: str) -> StoredObject:
        if self.is_down:
            raise StoreUnavailable("the object store did not answer")
        return await super().get(key)


class Bench:
    """A replica's two applications, with everything behind them but the engine and the files."""

    def __init__(self, makes_answers: AnsweringEngine | None = None) -> None:
        self.now = NOW
        self.objects = Registry()
        self.publisher = RecordingPublisher()
        self.tenancy: Tenancy = assemble(
            self.objects, KeyFileMasterKey(bytes(range(32))), self.publisher, "/sanolith/test", lambda: self.now
        )
        self.engine, self.files, self.meter = (
            makes_answers or AnsweringEngine(),
            BreakableFiles(),
            UsageMeter(lambda: 0.0),
        )
        self.residency = Residency(ResidencyPolicy(max_resident=2, idle_seconds=60), lambda: 0.0)
        self.placement = Placement(self.engine, self.files, self.residency, 0.0, lambda: 0.0)
        self.turns = turns()
        self.views = TenantStateCache(self.tenancy, 0.0)
        self.ids = AnswerIds(self.tenancy, self.views.require_admitted)
        self.lease = ReplicaLease(self.tenancy, "replica-0", "c" * 64, 30.0, NOW)
        self.reader = InMemoryMetricReader()
        meter = MeterProvider(metric_readers=[self.reader]).get_meter("test")
        self.api = Api(
            Credentials(TokenVerifier(OURS.trust, lambda: self.now), lambda: self.now),
            REQUESTS.of(meter),
            TENANT_REQUESTS,
        )
        self.app = self.api.build(_no_lifespan)
        telemetry = Telemetry("inference", CollectorRegistry(), *[None] * 7)  # type: ignore[arg-type]
        self.health = health_app(telemetry, lambda: True, _is_ready)
        self.embedder = WordEmbedder()
        self.indexes = LoadedIndexes(MOST_BYTES)
        self.retrieval = retrieval(self.tenancy, self.embedder, self.indexes, self.meter.searched)
        self.grammars = FakeGrammars()
        self.answers = self.answering(self.engine, self.grammars, self.placement)
        self.api.feedback = Feedback(
            self.ids,
            self.views,
            self.turns,
            FEEDBACK.of(meter),
            self.meter,
            Spent(self.tenancy.objects, self.tenancy.clock),
        )

    def answering(self, engine: Any, grammars: Any, placement: Placement) -> Answers:
        """Answer by these from now on, and by the bench's own parts else."""
        self.switching = Switching(placement)
        self.views.on_blocked = (self.turns.forget, self.ids.forget, self.switching.forget)
        made = self.api.answers = Answers(
            engine,
            grammars,
            self.views,
            placement,
            self.switching,
            self.lease,
            self.meter,
            Salts(bytes(32)),
            self.turns,
            self.retrieval,
            self.ids.new,
        )
        return made

    async def start(self) -> None:
        def adapter(status: str) -> AdapterState:
            return AdapterState.model_validate(
                {
                    "status": status,
                    "run_id": "r1",
                    "fence": 1,
                    "training_set_id": "d" * 64,
                    "base_model_digest": "c" * 64,
                    "size_bytes": 1,
                    "published_at": NOW,
                }
            )

        own = {ACTIVE: "ready", EARLIER: "ready", PUBLISHING: "publishing", RETIRED: "retired"}
        states = [
            TenantState(
                tenant=TENANT,
                nonce="n",
                adapters={digest: adapter(status) for digest, status in own.items()},
                active_adapter=ACTIVE,
            ),
            TenantState(tenant=OTHER, nonce="n", adapters={FOREIGN: adapter("ready")}, active_adapter=FOREIGN),
            TenantState(tenant=PLAIN, nonce="n"),
            TenantState(tenant=PURGED, nonce="n", status="purged", purge=PurgeState(purge_id="p1", fenced_at=NOW)),
        ]
        for state in states:
            await self.tenancy.states.create(state)
            if state.status == "active":
                await self.tenancy.keys.create(TenantId(state.tenant))
                await self.ids.new(TenantId(state.tenant), "base")  # no thread is waited for in an answer then
        await self.lease.renew()

    def client(self, app: Starlette | None = None) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(app or self.app), base_url="http://replica")

    async def post(self, path: str, by: TenantId | None = TENANT, /, **fields: Any) -> httpx.Response:
        headers = {} if by is None else bearer(by)
        content = json.dumps({**BODIES[path], **fields})  # httpx's own cannot send half a surrogate pair
        async with self.client() as client:
            return await client.post(path, content=content, headers=headers)

    async def raw(self, body: bytes, path: str = CHAT) -> httpx.Response:
        async with self.client() as client:
            return await client.post(path, content=body, headers=bearer(TENANT))

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        async with self.client() as client:
            return await client.get(path, headers=headers if headers is not None else bearer(TENANT))

    async def ask_health(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """On the port that the platform asks, without a token."""
        async with self.client(self.health) as client:
            return await client.get(path, headers=headers)

    def holds(self) -> int:
        return sum(self.residency.reservations(digest) for digest in self.residency.resident())


@asynccontextmanager
async def _no_lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield


async def _is_ready() -> bool:
    return True


def bearer(tenant: TenantId, signer: AllKeys = OURS, at: datetime = NOW) -> dict[str, str]:
    return {"Authorization": f"Bearer {TokenIssuer(signer.token, lambda: at).issue(tenant, timedelta(hours=1))}"}


def code(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])
