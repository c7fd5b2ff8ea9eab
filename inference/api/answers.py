"""Answers one request: binds it to the tenant's adapter, waits for its turn, asks the engine, meters the usage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

from inference.adapters.placement import Placement
from inference.adapters.switching import Switching
from inference.api.conversations import conversation
from inference.api.sizes import prompt_tokens, sequences
from inference.engine.constrained_fields import Constraint
from inference.engine.errors import EngineRefused
from inference.engine.in_flight import EventStream, Straight
from inference.engine.ports import Answering
from inference.engine.request_fields import chat_constraints
from inference.engine.stream_usage import Computed, opening_of
from inference.errors import RequestRefused, lease_over, no_room
from inference.knowledge.retrieval import FIELD, Retrieval
from inference.knowledge.told import DONE, FixedEvents, closing_event, declined, declined_events
from inference.replica.lease import ReplicaLease
from inference.tenants.binding import ACTIVE, BASE, Salts, TenantStateCache
from inference.tenants.turns import Turns
from inference.tenants.usage import UsageMeter
from inference.tenants.versions import Version, is_failure, version_of
from schemas.objects.state import TenantState
from tenancy.tenant_id import TenantId

Kind = Literal["chat", "completion"]
NewAnswerId = Callable[[TenantId, str], Awaitable[str]]
"""Makes the id of an answer. Takes the tenant, and the adapter that answers (``base`` for none)."""


class HeldStream(AsyncIterator[bytes]):
    """The server-sent events of one answer. It holds the adapter until the answer is made: a reader that takes nothing
    keeps no place for adapters, and no time is charged for it. Whoever gets it owes ``await aclose()``, which ends the
    making: also for a stream that was never read, since a caller can be gone before the first event. ``check`` raises
    where nothing more may be given out. ``closing`` is an event that comes right before the last one.
    """

    def __init__(
        self,
        events: EventStream | FixedEvents,
        held: AsyncExitStack,
        check: Callable[[], None],
        closing: bytes | None = None,
    ) -> None:
        self._events = events
        self._check = check
        self._closing = closing
        self._last: bytes | None = None
        self._straight: Straight | None = None
        self._letting_go = asyncio.create_task(self._let_go(held))

    async def _let_go(self, held: AsyncExitStack) -> None:
        await self._events.made()
        await held.aclose()

    async def __anext__(self) -> bytes:
        if self._last is not None:
            event, self._last = self._last, None
            return event
        event = await anext(self._events)
        self._check()
        if self._closing is not None and event == DONE:
            event, self._closing, self._last = self._closing, None, event
        return event

    def send_straight(self, straight: Straight) -> None:
        """Give events out by ``straight`` while this is waited for; what it does not take comes as any other."""
        if isinstance(self._events, EventStream):
            self._straight, self._events.straight = straight, self._sent

    def _sent(self, event: bytes) -> bool:
        if self._straight is None or (self._closing is not None and event == DONE):
            return False
        try:
            self._check()
        except Exception:
            return False  # the reader is refused by the same check, and ends the stream
        return self._straight(event)

    def give_up(self) -> None:
        """End the generation without waiting for that. The adapter is let go when it has ended."""
        self._events.give_up()

    async def aclose(self) -> None:
        """End the generation, then let the adapter go. Does nothing the second time."""
        try:
            await self._events.aclose()
        finally:
            await asyncio.shield(self._letting_go)  # which goes on when this is cancelled


@dataclass(frozen=True)
class Answer:
    """A whole answer, or a stream of server-sent events. ``adapter`` is the digest that answers, or ``base``;
    ``headers`` tell of the tenant's rates; ``request_id`` is the server's own.
    """

    adapter: str
    body: dict[str, Any] | HeldStream
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""


class AnsweringEngine(Answering, Protocol):
    """What answering asks of the engine."""

    def require_running(self) -> None: ...


class GrammarTrial(Protocol):
    """What tries callers' grammars out."""

    async def require(self, owner: str, constraints: Iterable[Constraint]) -> None: ...


@dataclass(frozen=True)
class Answers:
    """Answers verified tenants."""

    engine: AnsweringEngine
    grammars: GrammarTrial
    views: TenantStateCache
    placement: Placement
    switching: Switching
    lease: ReplicaLease
    meter: UsageMeter
    salts: Salts
    turns: Turns
    retrieval: Retrieval
    new_id: NewAnswerId

    async def models(self, tenant: TenantId) -> list[str]:
        """The names that this tenant may ask for; of its adapters the latest, since older ones need no listing."""
        state = await self.views.active(tenant)
        ready = [digest for digest, adapter in sorted(state.adapters.items()) if adapter.status == "ready"]
        return [BASE, *(["active"] if state.active_adapter else []), *ready]

    async def answer(
        self, tenant: TenantId, kind: Kind, body: Mapping[str, Any], conversation_header: str | None = None
    ) -> Answer:
        """Answer. Raises :class:`RequestRefused` and :class:`EngineRefused`."""
        self.engine.require_running()  # before anything is fetched for an engine that is not there
        state = await self.views.spending(tenant)
        policy = state.policy
        self.turns.rates.admit(tenant, policy)
        adapter = await self.views.adapter(tenant, body.get("model"), partial(conversation, conversation_header, body))
        names_none = body.get("model") in (None, ACTIVE)
        version = version_of(state, adapter) if names_none else None
        if names_none and adapter is not None and adapter == state.active_adapter and self.lease.is_held():
            answering = self.switching.answering(tenant, state, adapter)
            version = version if answering == adapter else None  # what stands in is no side of a comparison
            adapter = answering
        try:
            return await self._answered(tenant, kind, body, state, adapter, version)
        except Exception as error:
            if version is not None and is_failure(error):
                self.meter.version(tenant, version).failed()
            raise

    async def _answered(
        self,
        tenant: TenantId,
        kind: Kind,
        body: Mapping[str, Any],
        state: TenantState,
        adapter: str | None,
        version: Version | None,
    ) -> Answer:
        policy = state.policy
        may_answer = partial(self._require_lease, adapter)
        asked_at = self.meter.now()
        request_id, retrieved = await self.new_id(tenant, adapter or BASE), None
        if kind == "chat":
            retrieved = await self.retrieval.applied(tenant, policy, state.knowledge, body)
        elif body.get(FIELD) is not None:  # an empty one asks for it too, and is no field that is not sent
            raise EngineRefused(400, f"{FIELD} is not supported here; leave it out", field=FIELD)
        if retrieved is not None:
            body = retrieved.body
            if retrieved.is_declined:
                return self._declined(adapter or BASE, request_id, body, self.turns.rates.headers(tenant, policy))
        if kind == "chat" and (constraints := chat_constraints(body)):
            await self.grammars.require(tenant, constraints)
        await self._prefetch(tenant, adapter)
        stack = AsyncExitStack()
        try:
            turn = await stack.enter_async_context(
                self.turns.turn(
                    tenant, policy, adapter, sequences(kind, body), prompt_tokens(kind, body, self.turns.longest)
                )
            )
            used, figures = partial(self.turns.used, turn), Computed()
            try:
                await stack.enter_async_context(self._held(tenant, adapter))
                self.views.require_admitted(tenant)
                began_at = self.meter.now()
                self.meter.waited(tenant, began_at - asked_at)
                ask = self.engine.chat if kind == "chat" else self.engine.completion
                result = await ask(
                    body,
                    owner=tenant,
                    adapter=adapter,
                    cache_salt=self.salts.salt(tenant, adapter),
                    request_id=request_id,
                    context_tokens=policy.context_tokens,
                    priority=turn.engine_order,
                    usage=figures,
                )
            except (RequestRefused, EngineRefused):
                self.turns.give_back(turn)
                raise
            except asyncio.CancelledError:
                if figures.prompt_tokens:  # its caller has left, and what was made is charged as a stream's is
                    used(figures.prompt_tokens, figures.completion_tokens)
                    self.meter.tokens(tenant, figures.prompt_tokens, figures.completion_tokens)
                raise
        except BaseException:
            await stack.aclose()
            raise
        headers = self.turns.rates.headers(tenant, policy)
        if isinstance(result, EventStream):
            # Once, when the answer is made or given up: then its figures are final, however it ended.
            stack.callback(self._count_stream, tenant, result, version, began_at)
            result.on_used = used
            if result.usage.prompt_tokens:  # some of it, or all, was made before anybody could be told
                used(result.usage.prompt_tokens, result.usage.completion_tokens)
            closing = None if retrieved is None else closing_event(adapter or BASE, retrieved, f"chatcmpl-{request_id}")
            return Answer(adapter or BASE, HeldStream(result, stack, may_answer, closing), headers, request_id)
        usage = result["usage"]
        used(usage["prompt_tokens"], usage["completion_tokens"])
        await stack.aclose()
        self.meter.tokens(tenant, usage["prompt_tokens"], usage["completion_tokens"])
        seconds = self.meter.now() - began_at
        if retrieved is not None:
            result[FIELD] = retrieved.told()
        may_answer()  # after it is counted, as a stream is that the lease's end cuts off
        if version is not None:
            self.meter.version(tenant, version).answered(seconds, opening_of(result.get("choices")))
        return Answer(adapter or BASE, result, self.turns.rates.headers(tenant, policy), request_id)

    @staticmethod
    def _declined(name: str, request_id: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
        """What the policy has said where no document supports an answer. Nothing was taken of the engine."""
        answer_id = f"chatcmpl-{request_id}"
        if not body.get("stream"):
            return Answer(name, declined(name, answer_id), headers, request_id)
        events = HeldStream(declined_events(name, answer_id), AsyncExitStack(), lambda: None)
        return Answer(name, events, headers, request_id)

    async def _prefetch(self, tenant: TenantId, adapter: str | None) -> None:
        """Load the adapter before the request waits for its turn, which would otherwise keep a place in the engine
        empty for as long as a fetch takes. It is not held while it waits: a few tenants' queues would fill the replica.
        """
        if adapter is None or self.placement.has(adapter):
            return
        self._require_lease(adapter)
        try:
            async with self.placement.held(tenant, adapter):
                pass
        except RequestRefused as refused:
            if refused.code != no_room().code:  # every place for adapters is in use now; at its turn one is free
                raise

    @asynccontextmanager
    async def _held(self, tenant: TenantId, adapter: str | None) -> AsyncIterator[None]:
        if adapter is None:
            async with self.meter.running(tenant):
                yield
            return
        self._require_lease(adapter)
        async with self.placement.held(tenant, adapter), self.meter.running(tenant):
            self._require_lease(adapter)  # it may have waited long for the adapter
            yield

    def _require_lease(self, adapter: str | None) -> None:
        """Without its lease the replica begins no answer by an adapter, and gives out nothing more of one: a purge
        may have gone on without it.
        """
        if adapter is not None and not self.lease.is_held():
            raise lease_over()

    def _count_stream(self, tenant: TenantId, stream: EventStream, version: Version | None, began_at: float) -> None:
        self.meter.tokens(tenant, stream.usage.prompt_tokens, stream.usage.completion_tokens)
        if version is None or stream.was_left:  # of what nobody waited for nothing can be said
            return
        counts = self.meter.version(tenant, version)
        if stream.usage.failed:
            counts.failed()
        else:
            counts.answered(self.meter.now() - began_at, stream.usage.opening)
