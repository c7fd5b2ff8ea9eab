"""Defines all HTTP routes of the replica: OpenAI's shapes, bound to the bearer's tenant."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from opentelemetry import metrics
from starlette.exceptions import HTTPException as RouteError
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Lifespan, Receive, Scope, Send

from inference.api.answers import Answer, Answers, HeldStream, Kind
from inference.api.embeddings import Embeddings
from inference.api.feedback import Feedback
from inference.api.public_keys import MEDIA_TYPE, PublicKeys
from inference.api.responses_asked import asked_for, in_their_words
from inference.api.responses_made import of_chat
from inference.api.responses_stream import ResponseEvents
from inference.engine.errors import EngineError, EngineRefused
from inference.engine.vllm_errors import error_events
from inference.errors import RequestRefused, bad_request, body_timeout, cannot_load, error_body, unauthorized
from inference.knowledge.retrieval import asks_for_documents
from inference.tenants.admission import TenantRequests
from inference.tenants.credentials import Caller, Credentials
from inference.tenants.provider_tokens import ProviderToken
from schemas.serving_api import ADAPTER_HEADER, CONVERSATION_HEADER
from tenancy.errors import Refused, Transient
from tenancy.platform.logs import SCOPE, error_location
from tenancy.service.connections import STRAIGHT
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.inference")

MAX_BODY_BYTES = 1_048_576
PIECE_BYTES = 65_536
BODY_SECONDS = 30.0
"""So long a caller may take to send a body: the largest at 280 kbit/s."""
EVENTS_A_TURN = 8
"""So many events of a stream are sent before it waits a turn of the event loop, which costs about as much as one."""
FAILED = "this replica failed to process the request"

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]
Translation = Callable[[bytes], Iterable[bytes]]


def _as_it_is(event: bytes) -> Iterable[bytes]:
    return (event,)


class Api:
    """The routes. ``answers`` is there once the engine runs."""

    def __init__(self, credentials: Credentials, requests: metrics.Counter, tenant_requests: int) -> None:
        self.credentials = credentials
        self.requests = requests
        self.running = TenantRequests(tenant_requests)
        self.public_keys = PublicKeys()
        self.answers: Answers | None = None
        self.embeddings: Embeddings | None = None
        self.feedback: Feedback | None = None

    def build(self, lifespan: Lifespan[FastAPI]) -> FastAPI:
        """The application, without generated documentation routes."""
        app = FastAPI(
            title="sanolith",
            lifespan=lifespan,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,  # a redirect would lead to whatever host the request names
        )
        app.add_exception_handler(RequestRefused, _refused)
        app.add_exception_handler(RouteError, _no_such_route)
        app.add_exception_handler(EngineRefused, _engine_refused)
        app.add_exception_handler(EngineError, _engine_failed)
        app.add_exception_handler(Transient, _unavailable)
        app.add_exception_handler(Refused, _refused_by_the_boundary)
        app.add_api_route("/v1/chat/completions", self._route("chat"), methods=["POST"])
        app.add_api_route("/v1/completions", self._route("completion"), methods=["POST"])
        app.add_api_route("/v1/responses", _guarded(self._respond), methods=["POST"])
        app.add_api_route("/v1/feedback", _guarded(self._rate), methods=["POST"])
        app.add_api_route("/v1/embeddings", _guarded(self._embed), methods=["POST"])
        app.add_api_route("/v1/models", _guarded(self._models), methods=["GET"])
        app.add_api_route("/tenants/{tenant}/jwks.json", _guarded(self._jwks), methods=["GET"])
        return app

    async def _caller(self, request: Request) -> Caller:
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise unauthorized()
        presented = presented.strip()
        if self.credentials.is_key(presented):
            return await self.credentials.of_key(presented, self._ready().views)
        try:
            return self.credentials.of_token(presented)
        except RequestRefused:  # nearly all are the installation's, and those of others name an issuer of their own
            if (token := ProviderToken.parse(presented)) is None:
                raise
        return await self.credentials.of_provider(token, self._ready().views)

    def _ready(self) -> Answers:
        return _begun(self.answers)

    def _route(self, kind: Kind) -> Endpoint:
        async def answer(request: Request) -> Response:
            caller = await self._caller(request)
            caller.require("chat")
            tenant = caller.tenant
            with ExitStack() as running:
                running.enter_context(self.running.one_more(tenant))
                body = await _body(request)
                _require_scope(caller, body)
                said = request.headers.get(CONVERSATION_HEADER)
                made = await _while_waited_for(request, self._ready().answer(tenant, kind, body, said))
                self.requests.add(1, {"route": kind, "adapter": "base" if made.adapter == "base" else "own"})
                return self._response(tenant, made, running)

        return _guarded(answer)

    async def _respond(self, request: Request) -> Response:
        """A chat in other words: everything between the two translations is the chat's."""
        caller = await self._caller(request)
        caller.require("chat")
        with ExitStack() as running:
            running.enter_context(self.running.one_more(caller.tenant))
            asked = asked_for(await _body(request))
            _require_scope(caller, asked.chat)
            said = request.headers.get(CONVERSATION_HEADER)
            with in_their_words():
                made = await _while_waited_for(request, self._ready().answer(caller.tenant, "chat", asked.chat, said))
            self.requests.add(1, {"route": "responses", "adapter": "base" if made.adapter == "base" else "own"})
            if isinstance(made.body, HeldStream):
                events = ResponseEvents(asked.repeated, made.request_id, made.adapter)
                return self._response(caller.tenant, made, running, events)
            body = of_chat(asked.repeated, made.request_id, made.adapter, made.body)
            return self._response(caller.tenant, replace(made, body=body), running)

    async def _embed(self, request: Request) -> Response:
        caller = await self._caller(request)
        caller.require("embeddings")
        with ExitStack() as running:
            running.enter_context(self.running.one_more(caller.tenant))
            body = await _body(request)
            embeddings = _begun(self.embeddings)
            body, headers = await _while_waited_for(request, embeddings.answer(caller.tenant, body))
            self.requests.add(1, {"route": "embeddings", "adapter": "base"})
            return self._response(caller.tenant, Answer("base", body, headers), running)

    async def _rate(self, request: Request) -> Response:
        caller = await self._caller(request)
        caller.require("chat")
        with self.running.one_more(caller.tenant):
            body = await _body(request)
            return JSONResponse(await _begun(self.feedback).take(caller.tenant, body))

    def _response(
        self, tenant: TenantId, made: Answer, running: ExitStack, translated: Translation = _as_it_is
    ) -> Response:
        """The response, which takes over what is ``running`` until it is sent. ``translated`` makes each event of a
        stream into those that are sent.
        """
        headers = {**made.headers, ADAPTER_HEADER: made.adapter}
        if isinstance(made.body, HeldStream):
            return _Streamed(made.body, headers, running.pop_all(), translated)
        whole = _Whole(made.body, headers)
        running.enter_context(self.running.unread(tenant, len(whole.body)))
        whole.running = running.pop_all()
        return whole

    async def _models(self, request: Request) -> Response:
        names = await self._ready().models((await self._caller(request)).tenant)
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "tenant"} for name in names]
        return JSONResponse({"object": "list", "data": data})

    async def _jwks(self, request: Request) -> Response:
        keys = await self.public_keys.jwks(self._ready().views, request.path_params["tenant"])
        return JSONResponse(keys, media_type=MEDIA_TYPE, headers={"Cache-Control": "max-age=300"})


def _require_scope(caller: Caller, body: Mapping[str, Any]) -> None:
    """Who asks for documents needs a scope for that; the tenant's policy may give them with any chat."""
    if asks_for_documents(body):
        caller.require("knowledge")


def _begun(part: T | None) -> T:
    """The part of a replica that has started. Raises :class:`RequestRefused` (503)."""
    if part is None:
        raise RequestRefused(503, "starting", "this replica is starting; try again")
    return part


def _guarded(endpoint: Endpoint) -> Endpoint:
    """The endpoint, which answers also what nobody foresaw. Left to the server it would be logged with its text, and
    that may quote the request.
    """

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (RequestRefused, EngineError, Transient, Refused):
            raise  # each has its handler
        except Exception as error:
            logger.error("request failed", extra={"error": error_location(error)})
            return _error(500, "internal_error", FAILED)

    return guarded


async def _body(request: Request) -> dict[str, Any]:
    received, length = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                length += len(chunk)
                # What comes beyond the limit is taken and dropped: a connection that is closed while its caller still
                # sends is reset, and the answer with it.
                if length <= MAX_BODY_BYTES:
                    received += chunk
    except TimeoutError:
        raise body_timeout(BODY_SECONDS) from None
    except ClientDisconnect:
        raise bad_request("the request body ended early") from None
    if length > MAX_BODY_BYTES:
        raise RequestRefused(413, "too_large", f"the body is longer than {MAX_BODY_BYTES} bytes")
    try:
        body = json.loads(received)
    except (ValueError, RecursionError):
        raise bad_request("the request body is not valid JSON") from None
    if not isinstance(body, dict):
        raise bad_request("the request body is not a JSON object")
    return body


async def _while_waited_for(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The answer, whose making ends when the caller goes away. The server says that, and ends nothing by itself."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answer, leaving = asyncio.create_task(work), asyncio.create_task(gone())
    for task in (answer, leaving):
        task.add_done_callback(_seen)
    try:
        await asyncio.wait((answer, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            await asyncio.wait([answer])
        if answer.cancelled():
            raise bad_request("the caller went away")
        return answer.result()
    except asyncio.CancelledError:
        answer.cancel()
        answer.add_done_callback(_given_up)
        raise
    finally:
        leaving.cancel()


def _seen(task: asyncio.Task[Any]) -> None:
    """Nothing is logged by itself of a failure that nobody is there for: its text may quote the request."""
    if not task.cancelled():
        task.exception()


def _given_up(task: asyncio.Task[Any]) -> None:
    """End the stream that a request has got in the moment in which it was cancelled itself."""
    made = None if task.cancelled() or task.exception() is not None else task.result()
    if isinstance(made, Answer) and isinstance(made.body, HeldStream):
        made.body.give_up()


class _Whole(JSONResponse):
    """An answer that is sent in pieces, each when the one before has been taken: as a whole it would be given to the
    server at once, and count as sent while it waits there.
    """

    def __init__(self, answer: dict[str, Any], headers: dict[str, str]) -> None:
        super().__init__(answer, headers=headers)
        self.running = ExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.running:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for start in range(0, len(self.body), PIECE_BYTES):
                piece = bytes(self.body[start : start + PIECE_BYTES])
                more = start + PIECE_BYTES < len(self.body)
                await send({"type": "http.response.body", "body": piece, "more_body": more})


class _Streamed(StreamingResponse):
    """A stream that is closed however the response ends. A caller that is gone may end it before it was begun. Events
    that need no translation go straight to the connection, where the server offers that.
    """

    def __init__(
        self, stream: HeldStream, headers: dict[str, str], running: ExitStack, translated: Translation
    ) -> None:
        super().__init__(_events(stream, translated), media_type="text/event-stream", headers=headers)
        self._stream = stream
        self._is_translated = translated is not _as_it_is
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._running:
            try:
                offered = scope.get("extensions", {}).get(STRAIGHT)
                if offered is not None and not self._is_translated:
                    self._stream.send_straight(offered["write"])
                await super().__call__(scope, receive, send)
            finally:
                await self._stream.aclose()


async def _events(stream: HeldStream, translated: Translation) -> AsyncIterator[bytes]:
    """The stream's events. The status is sent by now, so what fails here ends the stream as an engine's error does."""
    number = 0
    try:
        async for event in stream:
            for each in translated(event):
                yield each
            # anyio cancels no task whose future is done: it tries again a turn later. A stream that makes an event at
            # every turn would put that off for ever; here nothing is waited for, and it is cancelled.
            if (number := number + 1) % EVENTS_A_TURN == 0:
                await asyncio.sleep(0)
    except RequestRefused as refusal:
        for event in error_events(refusal):
            for each in translated(event):
                yield each
    except Exception as error:
        logger.error("request failed", extra={"error": error_location(error)})
        for event in error_events(EngineRefused(500, FAILED)):
            for each in translated(event):
                yield each


def _error(status: int, code: str, message: str, field: str | None = None) -> JSONResponse:
    headers = {"Retry-After": "5"} if status in (429, 503) else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 408:
        headers["Connection"] = "close"  # or the rest of the body would be read still
    return JSONResponse(error_body(status, code, message, field), status, headers=headers)


async def _no_such_route(_: Request, error: Exception) -> Response:
    if not isinstance(error, RouteError):
        raise error
    if error.status_code != 405:
        return _error(404, "route_not_found", "there is no such route")
    response = _error(405, "method_not_allowed", "this route does not take this method")
    response.headers.update(error.headers or {})
    return response


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestRefused):
        raise error
    response = _error(error.status, error.code, error.message)
    response.headers.update(error.headers)
    return response


async def _engine_refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, EngineRefused):
        raise error
    return _error(error.status, "engine_refused", error.message, error.field)


async def _engine_failed(_: Request, __: Exception) -> Response:
    refusal = cannot_load()
    return _error(refusal.status, refusal.code, refusal.message)


async def _unavailable(_: Request, __: Exception) -> Response:
    return _error(503, "store_unavailable", "the tenant's state cannot be reached; try again")


async def _refused_by_the_boundary(_: Request, error: Exception) -> Response:
    """The store will not let this replica read, or what it reads does not open: refused, and the base model does not
    answer instead. The reason is for operators.
    """
    if not isinstance(error, Refused):
        raise error
    logger.error("request refused by the store", extra={"reason": error.code})
    if error.code in ("object-store-refused", "kms-refused"):
        return _error(503, "store_unavailable", "this replica is not allowed to read the tenant's state")
    refusal = cannot_load()
    return _error(refusal.status, refusal.code, refusal.message)
