"""The replica's routes: what each bearer gets by each name, and what a caller cannot reach, set or learn."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from consumers.runtime.service import health_routes
from consumers.runtime.telemetry import Telemetry
from inference.answers import Answer, Answers
from inference.api import ADAPTER_HEADER, MAX_BODY_BYTES, Api
from inference.binding import Salts, TenantViews
from inference.engine_errors import AdapterLoadFailed, EngineRefused
from inference.fetching import NotServable
from inference.flights import EventStream, Flight, Flights
from inference.lease import ReplicaLease
from inference.openai_requests import chat_fields, completion_fields
from inference.placement import Placement
from inference.residency import Residency, ResidencyPolicy
from inference.usage import Amounts, UsageMeter, UsageReporter
from schemas.events import UsageRecorded
from schemas.state import AdapterState, PurgeState, TenantState
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RawMessage, RecordingPublisher
from tenancy.errors import BusUnavailable, StoreUnavailable
from tenancy.master_keys import KeyFileMasterKey
from tenancy.memory import MemoryObjectStore
from tenancy.objects import StoredObject
from tenancy.signing import Signer
from tenancy.tenant_id import TenantId
from tenancy.tokens import TokenIssuer, TokenVerifier
from tests.world.fakes import FakeEngine, FakeFiles

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
TENANT, OTHER, PLAIN, PURGED, STRANGER = (TenantId(name) for name in ("t1", "t10", "t2", "t3", "t4"))
ACTIVE, EARLIER, PUBLISHING, RETIRED = ("a" * 63 + str(number) for number in range(4))
FOREIGN, MISSING = "b" * 64, "f" * 64
OURS = Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
THEIRS = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
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
USAGE_EVENT = b'data: {"id":"x","choices":[],"usage":' + json.dumps(USAGE).encode() + b"}\n\n"
DONE = b"data: [DONE]\n\n"


@dataclass
class Asked:
    """One request as the engine was asked it: the fields of vLLM's request, and the adapter that answers."""

    adapter: str | None
    fields: dict[str, Any]


@dataclass
class AnsweringEngine(FakeEngine):
    """The fake of the world, answering. Requests are made of the real allow-list, streams are the real ones."""

    asked: list[Asked] = field(default_factory=list)
    refusal: Exception | None = None
    stalls: bool = False
    flights: Flights = field(init=False)

    def __post_init__(self) -> None:
        self.flights = Flights(self._abort)

    async def _abort(self, engine_ids: list[str]) -> None:
        await asyncio.sleep(0)

    def inflight(self, digest: str) -> int:
        return self.flights.count(digest)

    async def chat(
        self, body: Mapping[str, Any], *, owner: str, adapter: str | None, cache_salt: str, request_id: str
    ) -> dict[str, Any] | EventStream:
        fields = chat_fields(body, model=adapter or "base", cache_salt=cache_salt, request_id=request_id)
        return await self._answer(owner, adapter, request_id, fields)

    async def completion(
        self, body: Mapping[str, Any], *, owner: str, adapter: str | None, cache_salt: str, request_id: str
    ) -> dict[str, Any] | EventStream:
        fields = completion_fields(body, model=adapter or "base", cache_salt=cache_salt, request_id=request_id)
        return await self._answer(owner, adapter, request_id, fields)

    async def _answer(
        self, owner: str, adapter: str | None, request_id: str, fields: dict[str, Any]
    ) -> dict[str, Any] | EventStream:
        assert adapter is None or adapter in self.names, "the engine is asked for what it does not hold"
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(Asked(adapter, fields))
        if not fields.get("stream"):
            return {"id": "x", "model": fields["model"], "choices": [{"index": 0}], "usage": USAGE}
        flight = Flight(request_id, adapter, [request_id], owner)
        stream = EventStream(self.flights, flight, (b"withdrawn",))
        wants_usage = (fields.get("stream_options") or {}).get("include_usage")
        events = [*TEXT_EVENTS, *([USAGE_EVENT] if wants_usage else []), DONE]
        self.flights.start(flight, self._pump(stream, events)).add_done_callback(stream.ended)
        return stream

    async def _pump(self, stream: EventStream, events: Iterable[bytes]) -> None:
        for event in events:
            stream.put(event)
            if self.stalls:
                await asyncio.Event().wait()


@dataclass
class BreakableFiles(FakeFiles):
    broken: dict[str, Exception] = field(default_factory=dict)

    async def fetch(self, tenant: TenantId, digest: str) -> Path:
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
    """A replica's application, with everything behind it but the engine and the files."""

    def __init__(self) -> None:
        self.now = NOW
        self.objects = Registry()
        self.publisher = RecordingPublisher()
        self.tenancy: Tenancy = assemble(
            self.objects, KeyFileMasterKey(bytes(range(32))), self.publisher, "/sanolith/test", lambda: self.now
        )
        self.engine, self.files, self.meter = AnsweringEngine(), BreakableFiles(), UsageMeter(lambda: 0.0)
        self.residency = Residency(ResidencyPolicy(max_resident=2, idle_seconds=60), lambda: 0.0)
        self.placement = Placement(self.engine, self.files, self.residency, 0.0, lambda: 0.0)
        self.views = TenantViews(self.tenancy, 0.0)
        self.lease = ReplicaLease(self.tenancy, "replica-0", "c" * 64, 30.0, NOW)
        self.reader = InMemoryMetricReader()
        meter = MeterProvider(metric_readers=[self.reader]).get_meter("test")
        self.api = Api(TokenVerifier(OURS.verifier, lambda: self.now), meter.create_counter("sano_requests"))
        self.app = self.api.build(_no_lifespan)
        telemetry = Telemetry("inference", CollectorRegistry(), *[None] * 6)  # type: ignore[arg-type]
        self.app.router.routes.extend(health_routes(telemetry, lambda: True, _is_ready))
        engine: Any = self.engine
        self.answers = Answers(engine, self.views, self.placement, self.lease, self.meter, Salts(bytes(32)))
        self.api.answers = self.answers

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
        await self.lease.renew()

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://replica")

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

    def holds(self) -> int:
        return sum(self.residency.reservations(digest) for digest in self.residency.resident())


@asynccontextmanager
async def _no_lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield


async def _is_ready() -> bool:
    return True


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.start()
    return made


def bearer(tenant: TenantId, signer: Signer = OURS, at: datetime = NOW) -> dict[str, str]:
    return {"Authorization": f"Bearer {TokenIssuer(signer, lambda: at).issue(tenant, timedelta(hours=1))}"}


def code(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])


# --- who asks, and by which name

TOKEN = bearer(TENANT)["Authorization"]
CREDENTIALS: dict[str, dict[str, str]] = {
    "none": {},
    "empty": {"Authorization": ""},
    "no token": {"Authorization": "Bearer "},
    "garbage": {"Authorization": "Bearer garbage"},
    "another scheme": {"Authorization": TOKEN.replace("Bearer", "Basic")},
    "no scheme": {"Authorization": TOKEN.removeprefix("Bearer ")},
    "cut short": {"Authorization": TOKEN[:-4]},
    "expired": bearer(TENANT, at=NOW - timedelta(hours=2)),
    "not yet": bearer(TENANT, at=NOW + timedelta(hours=2)),
    "another key": bearer(TENANT, signer=THEIRS),
    "by name": {"Authorization": f"Bearer {TENANT}"},
    "as a cookie": {"Cookie": f"Authorization={TOKEN}"},
}
NAMES: dict[str, tuple[Any, str | None]] = {
    "active": ("active", ACTIVE),
    "none": (None, ACTIVE),
    "base": ("base", "base"),
    "own digest": (ACTIVE, ACTIVE),
    "own earlier digest": (EARLIER, EARLIER),
    "own digest that is being published": (PUBLISHING, None),
    "own retired digest": (RETIRED, None),
    "foreign digest": (FOREIGN, None),
    "missing digest": (MISSING, None),
    "digest in capitals": (ACTIVE.upper(), None),
    "digest and a line end": (f"{ACTIVE}\n", None),
    "path": (f"../{FOREIGN}", None),
    "empty": ("", None),
    "capitals": ("BASE", None),
    "the engine's name": ("tenant", None),
    "another tenant": (str(OTHER), None),
    "number": (1, None),
    "true": (True, None),
    "list": (["active"], None),
    "object": ({"id": "base"}, None),
    "surrogate": ("\ud800", None),
}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("name", NAMES)
async def test_the_bearer_and_the_name_decide_which_adapter_answers(bench: Bench, name: str, path: str) -> None:
    model, adapter = NAMES[name]
    response = await bench.post(path, model=model)
    if adapter is None:
        assert (response.status_code, code(response)) == (404, "model_not_found")
        assert bench.engine.asked == []
        assert ADAPTER_HEADER not in response.headers
        return
    assert response.status_code == 200
    assert response.headers[ADAPTER_HEADER] == adapter
    assert [asked.adapter for asked in bench.engine.asked] == [None if adapter == "base" else adapter]
    assert bench.holds() == 0


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, MODELS])
@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_without_a_token_of_ours_nothing_is_answered(bench: Bench, credential: str, path: str) -> None:
    headers = CREDENTIALS[credential]
    async with bench.client() as client:
        if path == MODELS:
            responses = [await client.get(path, headers=headers)]
        else:
            bodies = [{**BODIES[path], "model": model} for model in ("base", "active", ACTIVE, FOREIGN, MISSING, 1)]
            responses = [await client.post(path, json=body, headers=headers) for body in bodies]
    assert {(response.status_code, code(response)) for response in responses} == {(401, "invalid_token")}
    assert len({response.content for response in responses}) == 1
    assert bench.engine.asked == []
    assert bench.engine.calls == []


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_foreign_adapter_and_a_missing_one_get_the_same_bytes(bench: Bench, path: str) -> None:
    await bench.post(path, OTHER)  # loaded on this replica, by its owner
    answers = [await bench.post(path, model=model) for model in (FOREIGN, MISSING, RETIRED, PUBLISHING, "x", 1)]
    assert len({(answer.status_code, answer.content, tuple(answer.headers.items())) for answer in answers}) == 1
    assert FOREIGN not in answers[0].text


async def test_each_tenants_view_of_the_models_is_its_own(bench: Bench) -> None:
    async def names(tenant: TenantId) -> list[str]:
        response = await bench.get(MODELS, bearer(tenant))
        return [model["id"] for model in response.json()["data"]]

    assert await names(TENANT) == ["base", "active", ACTIVE, EARLIER]
    assert await names(OTHER) == ["base", "active", FOREIGN]
    assert await names(PLAIN) == ["base"]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("model", [None, "active", "base"])
async def test_a_tenant_without_an_adapter_is_answered_by_the_base_model(
    bench: Bench, path: str, model: str | None
) -> None:
    response = await bench.post(path, PLAIN, model=model)
    assert (response.status_code, response.headers[ADAPTER_HEADER]) == (200, "base")
    assert bench.engine.asked[0].adapter is None


@pytest.mark.parametrize("tenant", [PURGED, STRANGER])
async def test_a_tenant_that_was_purged_or_never_was_is_not_served_at_all(bench: Bench, tenant: TenantId) -> None:
    answers = [await bench.post(path, tenant, model=name) for path in BODIES for name in ("base", "active", ACTIVE)]
    answers.append(await bench.get(MODELS, bearer(tenant)))
    assert {(answer.status_code, code(answer)) for answer in answers} == {(403, "tenant_not_active")}
    assert bench.engine.asked == []


async def test_a_blocked_tenant_is_refused_from_that_moment_and_the_others_are_not(bench: Bench) -> None:
    assert (await bench.post(CHAT)).status_code == 200
    bench.views.block(TENANT)
    assert (await bench.post(CHAT)).status_code == 403
    assert (await bench.get(MODELS)).status_code == 403
    assert (await bench.post(CHAT, OTHER)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"X-Sano-Tenant": OTHER}, {"X-Tenant": OTHER}, {"OpenAI-Organization": OTHER}, {ADAPTER_HEADER: FOREIGN}],
)
async def test_no_header_changes_whose_adapter_answers(bench: Bench, headers: dict[str, str]) -> None:
    async with bench.client() as client:
        answer = await client.post(CHAT, json=BODIES[CHAT], headers={**bearer(TENANT), **headers})
        query = await client.post(f"{CHAT}?tenant={OTHER}&model={FOREIGN}", json=BODIES[CHAT], headers=bearer(TENANT))
    assert [answer.headers[ADAPTER_HEADER], query.headers[ADAPTER_HEADER]] == [ACTIVE, ACTIVE]


# --- never the base model instead


@pytest.mark.parametrize("error", [NotServable("a file of the adapter is missing"), None])
@pytest.mark.parametrize("model", [None, "active", ACTIVE])
async def test_a_tenant_whose_adapter_cannot_be_loaded_gets_no_answer_and_never_the_base(
    bench: Bench, model: str | None, error: Exception | None
) -> None:
    if error is not None:
        bench.files.broken[ACTIVE] = error
    else:

        async def refuse(digest: str, directory: Path) -> None:
            raise AdapterLoadFailed(digest, "vLLM did not register it")

        bench.engine.load = refuse  # type: ignore[method-assign]
    for _ in range(2):
        response = await bench.post(CHAT, model=model)
        assert (response.status_code, code(response)) == (503, "adapter_unavailable")
        assert response.headers["Retry-After"]
    assert bench.engine.asked == []
    assert (await bench.post(CHAT, model="base")).headers[ADAPTER_HEADER] == "base", "asked for by name it answers"


async def test_after_its_lease_a_replica_serves_no_adapter_and_still_the_base_model(bench: Bench) -> None:
    bench.now += timedelta(seconds=30)
    response = await bench.post(CHAT)
    assert (response.status_code, code(response)) == (503, "replica_fenced")
    assert (await bench.post(CHAT, model=ACTIVE)).status_code == 503
    assert (await bench.post(CHAT, model=FOREIGN)).status_code == 404
    assert (await bench.post(CHAT, model="base")).status_code == 200
    assert (await bench.post(CHAT, PLAIN)).status_code == 200
    await bench.lease.renew()
    assert (await bench.post(CHAT)).headers[ADAPTER_HEADER] == ACTIVE


async def test_a_replica_whose_places_are_all_in_use_says_when_to_come_again(bench: Bench) -> None:
    async with bench.placement.held(OTHER, FOREIGN), bench.placement.held(TENANT, EARLIER):
        response = await bench.post(CHAT)
    assert (response.status_code, code(response), response.headers["Retry-After"]) == (503, "replica_busy", "5")
    assert bench.engine.asked == []


async def test_an_engine_that_refuses_is_quoted_and_one_that_fails_is_not(bench: Bench) -> None:
    bench.engine.refusal = EngineRefused(400, "temperature is not valid for this model", field="temperature")
    response = await bench.post(CHAT)
    assert (response.status_code, code(response)) == (400, "engine_refused")
    assert response.json()["error"]["message"] == "temperature is not valid for this model"
    bench.engine.refusal = AdapterLoadFailed(ACTIVE, "inner words")
    response = await bench.post(CHAT)
    assert (response.status_code, code(response)) == (503, "adapter_unavailable")
    assert "inner words" not in response.text
    assert bench.holds() == 0


async def test_a_store_that_does_not_answer_stops_everybody_and_nobody_is_served_by_guess(bench: Bench) -> None:
    bench.objects.is_down = True
    for response in (await bench.post(CHAT, model="base"), await bench.post(CHAT), await bench.get(MODELS)):
        assert (response.status_code, code(response)) == (503, "store_unavailable")
    assert bench.engine.asked == []


async def test_a_replica_that_is_starting_says_so(bench: Bench) -> None:
    bench.api.answers = None
    response = await bench.post(CHAT)
    assert (response.status_code, code(response)) == (503, "starting")
    assert (await bench.get(MODELS)).status_code == 503
    assert (await bench.post(CHAT, None)).status_code == 401


# --- bodies


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"1", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b"1" * 5000, b'{"a":1}{"a":1}']
)
async def test_a_body_that_is_not_a_json_object_is_refused(bench: Bench, body: bytes, path: str) -> None:
    response = await bench.raw(body, path)
    assert (response.status_code, code(response)) == (400, "invalid_request")
    assert bench.engine.asked == []


async def test_a_body_is_bounded_also_when_it_comes_in_pieces_without_a_length(bench: Bench) -> None:
    start = json.dumps(BODIES[CHAT]).encode()
    fits = start + b" " * (MAX_BODY_BYTES - len(start))
    assert (await bench.raw(fits)).status_code == 200
    response = await bench.raw(fits + b" ")
    assert (response.status_code, code(response)) == (413, "too_large")
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 65_536
            yield b" " * 65_536

    async with bench.client() as client:
        response = await client.post(CHAT, content=endless(), headers=bearer(TENANT))
    assert response.status_code == 413
    assert taken <= MAX_BODY_BYTES + 2 * 65_536, "it is not read to an end that may not come"


async def test_a_body_is_not_read_before_the_token_is_known(bench: Bench) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with bench.client() as client:
        assert (await client.post(CHAT, content=unread())).status_code == 401


# --- what a caller cannot set


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_model_salt_and_priority_are_the_servers_whatever_the_caller_says(bench: Bench, path: str) -> None:
    await bench.post(path, cache_salt="00" * 32, priority=-100, model="active", user="canary")
    fields = bench.engine.asked[0].fields
    assert fields["model"] == ACTIVE
    assert fields["priority"] == 0
    assert fields["cache_salt"] == bench.answers.salts.salt(TENANT, ACTIVE) != "00" * 32
    assert "user" not in fields


INTERNALS = [
    "lora_request",
    "lora_path",
    "kv_transfer_params",
    "request_id",
    "mm_processor_kwargs",
    "chat_template",
    "chat_template_kwargs",
    "documents",
    "vllm_xargs",
    "structured_outputs",
    "guided_json",
    "tools",
    "add_special_tokens",
    "return_token_ids",
    "prompt_logprobs",
    "data_parallel_rank",
    "tenant",
    "adapter",
    "__class__",
]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("name", INTERNALS)
async def test_the_engines_internals_cannot_be_named(bench: Bench, name: str, path: str) -> None:
    response = await bench.post(path, **{name: "x"})
    assert (response.status_code, code(response)) == (400, "engine_refused")
    assert bench.engine.asked == []
    assert bench.holds() == 0


async def test_content_that_names_an_adapter_is_refused_and_selects_nothing(bench: Bench) -> None:
    part = {"type": ACTIVE, ACTIVE: "x"}
    response = await bench.post(CHAT, model="base", messages=[{"role": "user", "content": [part]}])
    assert response.status_code == 400
    assert bench.engine.asked == []


async def test_every_request_has_an_id_of_its_own_and_every_pair_a_salt_of_its_own(bench: Bench) -> None:
    for tenant, model in ((TENANT, "active"), (TENANT, EARLIER), (TENANT, "base"), (PLAIN, "base"), (OTHER, "active")):
        await bench.post(CHAT, tenant, model=model)
    await bench.post(COMPLETIONS, TENANT, model="active")
    asked = [asked.fields for asked in bench.engine.asked]
    assert len({fields["request_id"] for fields in asked}) == len(asked)
    salts = [fields["cache_salt"] for fields in asked]
    assert len(set(salts[:5])) == 5
    assert salts[5] == salts[0], "one tenant's own prefix is found again"
    assert all(0 < len(salt) <= 128 and int(salt, 16) >= 0 for salt in salts)


def test_no_two_pairs_of_tenant_and_adapter_share_a_salt_and_processes_do_not_either() -> None:
    salts = Salts(bytes(32))
    pairs = [("t1", "0" * 64), ("t10", "0" * 64), ("t1", None), ("t1", "base0"), ("t1b", "ase0"), ("t", "1base")]
    assert len({salts.salt(tenant, adapter) for tenant, adapter in pairs}) == len(pairs)
    assert Salts().salt("t1", None) != Salts().salt("t1", None)
    assert "key" not in repr(salts)


# --- streams


def events_of(response: httpx.Response) -> list[bytes]:
    return [event + b"\n\n" for event in response.content.split(b"\n\n") if event]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_stream_passes_through_without_the_usage_that_nobody_asked_for(bench: Bench, path: str) -> None:
    response = await bench.post(path, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers[ADAPTER_HEADER] == ACTIVE
    assert events_of(response) == [*TEXT_EVENTS, DONE]
    assert bench.meter.take()[TENANT] == Amounts(5, 7)
    assert bench.holds() == 0


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_stream_ends_with_its_usage_when_it_was_asked_for(bench: Bench, path: str) -> None:
    response = await bench.post(path, stream=True, stream_options={"include_usage": True})
    assert events_of(response) == [*TEXT_EVENTS, USAGE_EVENT, DONE]
    assert bench.meter.take()[TENANT] == Amounts(5, 7)


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": None}])
async def test_usage_is_metered_whatever_the_caller_wants_to_see(bench: Bench, options: Any) -> None:
    response = await bench.post(CHAT, stream=True, stream_options=options)
    assert events_of(response) == [*TEXT_EVENTS, DONE]
    assert bench.meter.take()[TENANT] == Amounts(5, 7)


@pytest.mark.parametrize(
    "options", [1, [], "x", [["include_usage", True]], {"include_usage": "no"}, {"include_usage": 1}]
)
async def test_stream_options_of_another_shape_are_refused(bench: Bench, options: Any) -> None:
    """vLLM takes "no" for False: an answer asked for in this way would be metered by nobody."""
    response = await bench.post(CHAT, stream=True, stream_options=options)
    assert (response.status_code, code(response)) == (400, "invalid_request")
    assert bench.engine.asked == []


async def test_a_whole_answer_is_metered_for_its_tenant(bench: Bench) -> None:
    response = await bench.post(CHAT)
    assert response.json()["usage"] == USAGE
    await bench.post(CHAT, OTHER)
    await bench.post(CHAT, OTHER, model="base")
    assert bench.meter.take() == {TENANT: Amounts(5, 7), OTHER: Amounts(10, 14)}
    assert bench.meter.take() == {}


async def _asgi(bench: Bench, *, events_before_leaving: int, spec_version: str) -> list[dict[str, Any]]:
    """A caller that goes away: at once, or after so many events of the stream."""
    body = json.dumps({**BODIES[CHAT], "stream": True}).encode()
    sent: list[dict[str, Any]] = []
    left = asyncio.Event()
    if not events_before_leaving:
        left.set()
    requests = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        if (message := next(requests, None)) is not None:
            return message
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if left.is_set() and spec_version == "2.4":
            raise OSError("the caller is gone")
        sent.append(dict(message))
        if sum(m["type"] == "http.response.body" for m in sent) >= events_before_leaving > 0:
            left.set()

    headers = [(name.lower().encode(), value.encode()) for name, value in bearer(TENANT).items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": spec_version},
        "http_version": "1.1",
        "method": "POST",
        "path": CHAT,
        "raw_path": CHAT.encode(),
        "query_string": b"",
        "headers": headers,
        "scheme": "http",
        "server": ("replica", 80),
        "client": ("caller", 1),
        "root_path": "",
    }
    async with asyncio.timeout(10):
        try:
            await bench.app(scope, receive, send)
        except Exception as error:  # what the server makes of a send that fails is its own business
            assert spec_version == "2.4", repr(error)
    return sent


def _kept_answers(monkeypatch: pytest.MonkeyPatch) -> list[Answer]:
    """Every answer, kept: or the garbage collector would let go what the code has forgotten."""
    kept: list[Answer] = []
    answer = Answers.answer

    async def kept_answer(self: Answers, *arguments: Any) -> Answer:
        kept.append(await answer(self, *arguments))
        return kept[-1]

    monkeypatch.setattr(Answers, "answer", kept_answer)
    return kept


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
@pytest.mark.parametrize(("events", "stalls"), [(0, False), (0, True), (1, True), (1, False), (2, False)])
async def test_a_caller_that_goes_away_leaves_no_hold_on_its_adapter(
    bench: Bench, events: int, stalls: bool, spec_version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _kept_answers(monkeypatch)
    bench.engine.stalls = stalls and spec_version == "2.3"
    await _asgi(bench, events_before_leaving=events, spec_version=spec_version)
    for _ in range(5):
        await asyncio.sleep(0)
    assert bench.holds() == 0
    assert bench.engine.inflight(ACTIVE) == 0, "its generation is ended"
    assert bench.meter._running == {}, "and is charged no more"


@pytest.mark.parametrize("turns", range(6))
async def test_a_response_that_is_cancelled_and_cancelled_again_leaves_no_hold(
    bench: Bench, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = _kept_answers(monkeypatch)
    bench.engine.stalls = True
    response = asyncio.create_task(_asgi(bench, events_before_leaving=100, spec_version="2.3"))
    while not kept:
        await asyncio.sleep(0)
    for _ in range(2):
        for _ in range(turns):
            await asyncio.sleep(0)
        response.cancel()
    await asyncio.gather(response, return_exceptions=True)
    for _ in range(5):
        await asyncio.sleep(0)
    assert response.cancelled()
    assert bench.holds() == 0
    assert bench.engine.inflight(ACTIVE) == 0


# --- what is not there

UNKNOWN = [
    "/",
    "/v1",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/docs/oauth2-redirect",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/audio/transcriptions",
    "/v1/audio/speech",
    "/v1/rerank",
    "/v1/score",
    "/v1/files",
    f"/v1/models/{ACTIVE}",
    "/v1/chat/completions/render",
    "/v1/completions/render",
    "/v1/messages",
    "/tokenize",
    "/detokenize",
    "/tokenizer_info",
    "/pooling",
    "/classify",
    "/score",
    "/rerank",
    "/invocations",
    "/generate",
    "/inference/v1/generate",
    "/abort_requests",
    "/sleep",
    "/wake_up",
    "/is_sleeping",
    "/pause",
    "/resume",
    "/collective_rpc",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/scale_elastic_ep",
    "/start_profile",
    "/server_info",
    "/health",
    "/ping",
    "/version",
    "/load",
    "/v2/models",
    "/static/x",
    "/.env",
]


@pytest.mark.parametrize("path", UNKNOWN)
async def test_there_are_no_other_routes(bench: Bench, path: str) -> None:
    async with bench.client() as client:
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            response = await client.request(method, path, headers=bearer(TENANT), json=BODIES[CHAT])
            assert response.status_code == 404, method
    assert bench.engine.asked == []


def test_the_routes_are_exactly_those_of_the_contract(bench: Bench) -> None:
    routes = {
        (getattr(route, "path", ""), tuple(sorted(getattr(route, "methods", None) or ()))) for route in _routes(bench)
    }
    assert routes == {
        (CHAT, ("POST",)),
        (COMPLETIONS, ("POST",)),
        (MODELS, ("GET",)),
        ("/health/live", ("GET", "HEAD")),
        ("/health/ready", ("GET", "HEAD")),
        ("/metrics", ()),
    }


def _routes(bench: Bench) -> list[Any]:
    return list(bench.app.router.routes)


async def test_a_known_route_takes_its_own_method_only(bench: Bench) -> None:
    async with bench.client() as client:
        for method, path in (("GET", CHAT), ("DELETE", COMPLETIONS), ("POST", MODELS)):
            assert (await client.request(method, path, headers=bearer(TENANT))).status_code == 405


# --- quiet


async def test_neither_errors_nor_metrics_say_who_asked_what(bench: Bench) -> None:
    canary = "canary-8841"
    responses = [
        await bench.post(CHAT, model=canary),
        await bench.post(CHAT, messages=canary),
        await bench.post(CHAT, messages=[{"role": canary, "content": canary}]),
        await bench.post(CHAT, **{f"{canary} x": canary}),
        await bench.post(CHAT, stream=True, stream_options=canary),
        await bench.raw(canary.encode()),
        await bench.get(MODELS, {"Authorization": f"Bearer {canary}"}),
        await bench.post(CHAT),
        await bench.post(CHAT, OTHER),
    ]
    assert all(canary not in response.text + str(response.headers) for response in responses)
    metrics = bench.reader.get_metrics_data()
    assert metrics is not None
    shown = metrics.to_json()
    assert '"adapter": "own"' in shown
    for secret in (canary, ACTIVE, FOREIGN, f'"{TENANT}"', f'"{OTHER}"'):
        assert secret not in shown


# --- usage


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_engine_time_is_shared_by_the_requests_that_run() -> None:
    clock = Clock()
    meter = UsageMeter(clock)
    clock.now = 1000.0
    async with meter.running(TENANT):
        clock.now += 4
        async with meter.running(OTHER), meter.running(OTHER):
            clock.now += 3
        clock.now += 1
    clock.now += 50
    taken = meter.take()
    assert (taken[TENANT].engine_seconds, taken[OTHER].engine_seconds) == (6.0, 2.0)
    assert sum(amounts.engine_seconds for amounts in taken.values()) == 8.0, "idle time is nobody's"


async def test_a_request_that_still_runs_is_charged_up_to_each_report() -> None:
    clock = Clock()
    meter = UsageMeter(clock)
    async with meter.running(TENANT):
        clock.now += 4
        assert meter.take()[TENANT].engine_seconds == 4.0
        clock.now += 2
    assert meter.take()[TENANT].engine_seconds == 2.0


@dataclass
class Flaky(RecordingPublisher):
    """A bus that takes an event and whose answer is lost, or that takes none."""

    failing: int = 0
    takes_it: bool = False

    async def publish(self, event: Any) -> None:
        if self.failing:
            self.failing -= 1
            if self.takes_it:
                await super().publish(event)
            raise BusUnavailable("the bus did not acknowledge")
        await super().publish(event)

    async def publish_raw(self, message: RawMessage) -> None:
        raise AssertionError("usage is an event")


def _reporter(publisher: Flaky) -> tuple[UsageMeter, UsageReporter]:
    tenancy = assemble(MemoryObjectStore(), KeyFileMasterKey(secrets.token_bytes(32)), publisher, "/test", lambda: NOW)
    meter = UsageMeter(lambda: 0.0)
    return meter, UsageReporter(meter, tenancy)


def _sums(publisher: Flaky) -> dict[str, tuple[int, int]]:
    """What the ledger makes of it, which counts an event once however often it comes."""
    once = {event.id: event for event in publisher.events}
    sums: dict[str, tuple[int, int]] = {}
    for event in once.values():
        assert isinstance(event.data, UsageRecorded)
        prompt, completion = sums.get(event.subject, (0, 0))
        sums[event.subject] = (prompt + event.data.prompt_tokens, completion + event.data.completion_tokens)
    return sums


@pytest.mark.parametrize("takes_it", [False, True])
@pytest.mark.parametrize("failing", range(5))
async def test_usage_is_reported_once_and_none_is_lost_when_the_bus_fails(failing: int, takes_it: bool) -> None:
    publisher = Flaky(failing=failing, takes_it=takes_it)
    meter, reporter = _reporter(publisher)
    for number, tenant in enumerate((TENANT, OTHER, PLAIN), start=1):
        meter.tokens(tenant, number, 10 * number)
    await reporter.report()
    meter.tokens(TENANT, 100, 0)
    for _ in range(failing + 1):
        await reporter.report()
    assert _sums(publisher) == {TENANT: (101, 10), OTHER: (2, 20), PLAIN: (3, 30)}
    before = len(publisher.events)
    await reporter.report()
    assert len(publisher.events) == before, "nothing is reported where nothing was used"


async def test_a_report_that_is_cut_off_is_made_whole_by_the_next() -> None:
    publisher = Flaky()
    meter, reporter = _reporter(publisher)
    meter.tokens(TENANT, 1, 1)
    meter.tokens(OTHER, 2, 2)
    taken = publisher.publish

    async def hangs(event: Any) -> None:
        await asyncio.Event().wait()

    publisher.publish = hangs  # type: ignore[method-assign]
    report = asyncio.create_task(reporter.report())
    await asyncio.sleep(0)
    report.cancel()
    await asyncio.gather(report, return_exceptions=True)
    publisher.publish = taken  # type: ignore[method-assign]
    await reporter.report()
    assert _sums(publisher) == {TENANT: (1, 1), OTHER: (2, 2)}
