"""Whatever fails behind the routes, the caller gets OpenAI's shape, a status that fits, and no text."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.metrics import MeterProvider

from inference.adapters.placement import Placement
from inference.adapters.residency import Residency, ResidencyPolicy
from inference.adapters.switching import Switching
from inference.api.answers import Answer, Answers, HeldStream
from inference.api.routes import Api
from inference.engine.errors import EngineDead, EngineRefused
from inference.engine.in_flight import EventStream, Flight, Flights
from inference.engine.stream_usage import StreamUsage
from inference.replica.lease import ReplicaLease
from inference.tenants.binding import Salts, TenantStateCache
from inference.tenants.credentials import Credentials
from inference.tenants.usage import UsageMeter
from schemas.objects import object_keys
from schemas.objects.state import AdapterState, TenantState
from tenancy.bootstrap import assemble
from tenancy.bus import RecordingPublisher
from tenancy.errors import Refused, SealBroken, StoreUnavailable
from tenancy.service.metrics import REQUESTS
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import StoredObject
from tenancy.tenant_id import TenantId
from tenancy.tokens import TokenIssuer, TokenVerifier
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.answer_ids import any_id
from tests.fixtures.retrieval import retrieval
from tests.fixtures.turns import turns
from tests.unit.api.replica import FakeGrammars
from tests.world.fakes import FakeEngine, FakeFiles

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
TENANT = TenantId("t1")
ARCHIVED = "a" * 64
SIGNER = AllKeys.numbered(1)
BEARER = {"Authorization": f"Bearer {TokenIssuer(SIGNER.token, lambda: NOW).issue(TENANT, timedelta(hours=1))}"}
CHAT, COMPLETIONS, MODELS = "/v1/chat/completions", "/v1/completions", "/v1/models"
SECRET = "Mrs-Miller-of-ward-7"

S3_REFUSED = Refused("object-store-refused", f"refused: the object store answered 403 {SECRET}")
FAILURES: dict[str, tuple[Exception, int, str]] = {
    "the store refuses": (S3_REFUSED, 503, "store_unavailable"),
    "the master key refuses": (Refused("kms-refused", f"refused: KMS answered 400 {SECRET}"), 503, "store_unavailable"),
    "the store is out of reach": (StoreUnavailable(SECRET), 503, "store_unavailable"),
    "a record does not open": (SealBroken(SECRET), 503, "adapter_unavailable"),
    "a name is missing": (KeyError(SECRET), 500, "internal_error"),
    "a value is off": (ValueError(SECRET), 500, "internal_error"),
    "an own error": (RuntimeError(SECRET), 500, "internal_error"),
    "the engine died": (EngineDead(), 503, "engine_refused"),
    "the engine failed": (EngineRefused(500, "the engine failed to process this request"), 500, "engine_refused"),
}


@asynccontextmanager
async def _no_lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield


def application(answers: Any) -> FastAPI:
    counter = REQUESTS.of(MeterProvider().get_meter("test"))
    api = Api(Credentials(TokenVerifier(SIGNER.trust, lambda: NOW)), counter, 4)
    api.answers = answers
    return api.build(_no_lifespan)


async def asked(app: FastAPI, path: str, **fields: Any) -> httpx.Response:
    """Raises what the server would have to log: nothing may come through to it."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://replica") as client:
        if path == MODELS:
            return await client.get(path, headers=BEARER)
        body = {"messages": [{"role": "user", "content": SECRET}], "prompt": SECRET, **fields}
        return await client.post(path, json=body, headers=BEARER)


def must_be_an_error(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("server_error", code)
    assert ("Retry-After" in response.headers) == (status == 503)
    assert SECRET not in response.text


@dataclass
class Failing:
    """Answers that fail."""

    error: Exception

    async def answer(self, tenant: TenantId, kind: str, body: Mapping[str, Any], conversation: str | None) -> Answer:
        raise self.error

    async def models(self, tenant: TenantId) -> list[str]:
        raise self.error


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, MODELS])
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failure_is_said_in_openais_shape_without_its_text(
    failure: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    error, status, code = FAILURES[failure]
    with caplog.at_level(logging.DEBUG):
        must_be_an_error(await asked(application(Failing(error)), path), status, code)
    assert SECRET not in "".join(str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_stream_that_fails_before_its_first_byte_gets_the_failures_status(failure: str, path: str) -> None:
    error, status, code = FAILURES[failure]
    must_be_an_error(await asked(application(Failing(error)), path, stream=True), status, code)


@dataclass
class Breaking:
    """Answers with a stream that fails on our side once it has begun."""

    made: HeldStream | None = None

    async def answer(self, tenant: TenantId, kind: str, body: Mapping[str, Any], conversation: str | None) -> Answer:
        async def told(_: list[str]) -> None:
            return None

        flights = Flights(told)
        flight = Flight("r", None, ["r"], tenant)
        stream = EventStream(flights, flight, StreamUsage(body))

        async def pump() -> None:
            stream.put(*(b'data: {"choices":[{"index":%d}]}\n\n' % index for index in range(2)))
            await asyncio.sleep(0)

        flights.start(flight, pump()).add_done_callback(stream.ended)

        given_out = iter((True, False))

        def check() -> None:
            if not next(given_out):
                raise ValueError(SECRET)

        self.made = HeldStream(stream, AsyncExitStack(), check)
        return Answer("base", self.made)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_stream_that_fails_after_it_has_begun_ends_with_the_error_and_the_end_mark(path: str) -> None:
    response = await asked(application(Breaking()), path, stream=True)
    first, last, done = response.text.rstrip().split("\n\n")
    assert json.loads(first.removeprefix("data: ")) == {"choices": [{"index": 0}]}
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["type"], error["param"], error["code"]) == ("server_error", None, 500)
    assert done == "data: [DONE]"
    assert SECRET not in response.text


async def test_a_caller_who_leaves_within_the_body_is_no_failure_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(name.lower().encode(), value.encode()) for name, value in BEARER.items()]
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers, "query_string": b"", "root_path": ""}
    with caplog.at_level(logging.WARNING):
        await application(Failing(ValueError()))({**scope, "http_version": "1.1"}, receive, send)
    assert sent[0]["status"] == 400
    assert not caplog.records


# --- from the store to the status


class Forbidding(MemoryObjectStore):
    """A store that answers 403 to some reads."""

    def __init__(self) -> None:
        super().__init__()
        self.forbids: Callable[[str], bool] = lambda key: False

    async def get(self, key: str) -> StoredObject:
        if self.forbids(key):
            raise S3_REFUSED
        return await super().get(key)


async def _replica(objects: MemoryObjectStore) -> FastAPI:
    tenancy = assemble(objects, KeyFileMasterKey(bytes(32)), RecordingPublisher(), "/sanolith/test", lambda: NOW)
    await tenancy.states.create(TenantState(tenant=TENANT, nonce="n"))
    await tenancy.keys.create(TENANT)
    archived = AdapterState(
        status="ready",
        run_id="r1",
        fence=1,
        training_set_id="d" * 64,
        base_model_digest="c" * 64,
        size_bytes=1,
        published_at=NOW,
    )
    await (await tenancy.store(TENANT)).put_record(object_keys.adapter_record(ARCHIVED), archived)
    lease = ReplicaLease(tenancy, "replica-0", "c" * 64, 30.0, NOW)
    await lease.renew()
    residency = Residency(ResidencyPolicy(max_resident=2, idle_seconds=60), lambda: 0.0)
    engine: Any = FakeEngine()
    placement = Placement(engine, FakeFiles(), residency, 0.0, lambda: 0.0)
    return application(
        Answers(
            engine,
            FakeGrammars(),
            TenantStateCache(tenancy, 0.0),
            placement,
            Switching(placement),
            lease,
            UsageMeter(),
            Salts(bytes(32)),
            turns(),
            retrieval(tenancy),
            any_id,
        )
    )


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, MODELS])
async def test_a_state_that_may_not_be_read_is_503(path: str) -> None:
    objects = Forbidding()
    app = await _replica(objects)
    objects.forbids = lambda key: key == object_keys.state_key(TENANT)
    must_be_an_error(await asked(app, path), 503, "store_unavailable")


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_an_archived_adapters_record_that_does_not_open_is_503_and_never_the_base(path: str) -> None:
    objects = MemoryObjectStore()
    app = await _replica(objects)
    await objects.put(object_keys.tenant_key(TENANT, object_keys.adapter_record(ARCHIVED)), b"changed")
    must_be_an_error(await asked(app, path, model=ARCHIVED), 503, "adapter_unavailable")


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, MODELS])
async def test_a_state_that_cannot_be_parsed_is_500_without_a_word_of_it(path: str) -> None:
    objects = MemoryObjectStore()
    app = await _replica(objects)
    await objects.put(object_keys.state_key(TENANT), json.dumps({"tenant": SECRET}).encode())
    must_be_an_error(await asked(app, path), 500, "internal_error")
