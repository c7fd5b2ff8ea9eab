"""Answering one request: bind it to the tenant's adapter, hold that, ask the engine, meter what it took."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from inference.binding import BASE, Salts, TenantViews
from inference.engine import Engine
from inference.errors import bad_request, lease_over
from inference.flights import EventStream
from inference.lease import ReplicaLease
from inference.placement import Placement
from inference.usage import UsageMeter
from tenancy.clock import random_nonce
from tenancy.tenant_id import TenantId

Kind = Literal["chat", "completion"]


class MeteredStream(AsyncIterator[bytes]):
    """The server-sent events of one answer. It holds the adapter until ``await aclose()``, which whoever gets it owes:
    also for a stream that was never read, since a caller can be gone before the first event.
    """

    def __init__(
        self, events: EventStream, held: AsyncExitStack, count: Callable[[object], None], *, drops_usage: bool
    ) -> None:
        self._events = events
        self._held = held
        self._count = count
        self._drops_usage = drops_usage

    async def __anext__(self) -> bytes:
        while True:
            event = await anext(self._events)
            usage = _usage(event)
            if usage is None:
                return event
            self._count(usage)
            if not self._drops_usage:
                return event

    async def aclose(self) -> None:
        """End the generation, then let the adapter go. Does nothing the second time."""
        try:
            await self._events.aclose()
        finally:
            await self._held.aclose()  # also when this is cancelled while it waits for the engine


@dataclass(frozen=True)
class Answer:
    """A whole answer, or a stream of server-sent events. ``adapter`` is the digest that answers, or ``base``."""

    adapter: str
    body: dict[str, Any] | MeteredStream


@dataclass(frozen=True)
class Answers:
    """Answers verified tenants."""

    engine: Engine
    views: TenantViews
    placement: Placement
    lease: ReplicaLease
    meter: UsageMeter
    salts: Salts

    async def models(self, tenant: TenantId) -> list[str]:
        """The names that this tenant may ask for; of its adapters the latest, since older ones need no listing."""
        state = await self.views.active(tenant)
        ready = [digest for digest, adapter in sorted(state.adapters.items()) if adapter.status == "ready"]
        return [BASE, *(["active"] if state.active_adapter else []), *ready]

    async def answer(self, tenant: TenantId, kind: Kind, body: Mapping[str, Any]) -> Answer:
        """Answer. Raises :class:`RequestRefused` and :class:`EngineRefused`."""
        adapter = await self.views.adapter(tenant, body.get("model"))
        asked = dict(body)
        adds_usage = _ask_for_usage(asked)
        stack = AsyncExitStack()
        try:
            await stack.enter_async_context(self._held(tenant, adapter))
            ask = self.engine.chat if kind == "chat" else self.engine.completion
            result = await ask(
                asked,
                owner=tenant,
                adapter=adapter,
                cache_salt=self.salts.salt(tenant, adapter),
                request_id=random_nonce(),
            )
        except BaseException:
            await stack.aclose()
            raise
        if isinstance(result, EventStream):
            count = partial(self._count, tenant)
            return Answer(adapter or BASE, MeteredStream(result, stack, count, drops_usage=adds_usage))
        await stack.aclose()
        self._count(tenant, result.get("usage"))
        return Answer(adapter or BASE, result)

    @asynccontextmanager
    async def _held(self, tenant: TenantId, adapter: str | None) -> AsyncIterator[None]:
        if adapter is None:
            async with self.meter.running(tenant):
                yield
            return
        if not self.lease.is_held():
            raise lease_over()
        async with self.placement.held(tenant, adapter), self.meter.running(tenant):
            yield

    def _count(self, tenant: TenantId, usage: object) -> None:
        if isinstance(usage, dict):
            self.meter.tokens(tenant, int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))


def _ask_for_usage(body: dict[str, Any]) -> bool:
    """Make a streamed answer end with its usage; True when the caller did not ask for that chunk."""
    if not body.get("stream"):
        return False
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise bad_request("stream_options must be an object")
    wants_usage = (options or {}).get("include_usage")
    if wants_usage is not None and not isinstance(wants_usage, bool):
        # vLLM takes "no" for False, and the answer would be metered by nobody.
        raise bad_request("stream_options.include_usage must be true or false")
    if wants_usage:
        return False
    body["stream_options"] = {**(options or {}), "include_usage": True}
    return True


def _usage(event: bytes) -> dict[str, Any] | None:
    """The usage of the closing chunk: the one without choices."""
    if b'"choices":[]' not in event:
        return None
    try:
        chunk = json.loads(event.removeprefix(b"data: "))
    except ValueError:
        return None
    usage = chunk.get("usage") if isinstance(chunk, dict) else None
    return usage if isinstance(usage, dict) else None
