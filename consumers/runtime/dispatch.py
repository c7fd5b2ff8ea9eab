"""Dispatches a record: decodes it, finds its handler, retries transient errors, and returns the outcome."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from opentelemetry import trace

from consumers.runtime.parsing import Record, event_of
from consumers.runtime.poison import BAD_KEY, HANDLER_ERROR, KEY_MISSING, UNKNOWN_READER, Poison
from consumers.runtime.policy import HANDLING, HandlingPolicy
from consumers.runtime.requeue import is_for_another, is_for_nobody, must_happen
from consumers.runtime.runs import InRuns, PortsT
from consumers.runtime.signatures import TRUSTING_NOBODY, Signatures
from schemas.bus.envelope import DataT, Event, MalformedEvent, decode
from schemas.bus.events import OUTCOMES, EventData, OutcomeRecorded
from schemas.bus.outcome import Outcome
from schemas.bus.topics import TOPICS
from schemas.objects.object_keys import ForbiddenKey
from tenancy.bootstrap import Tenancy
from tenancy.errors import BusUnavailable, KeyDestroyed, Refused, TenantFenced, Transient, UnknownTenant
from tenancy.evidence.event_signatures import UNKNOWN_SIGNER, NotBelieved
from tenancy.platform.logs import SCOPE, error_location
from tenancy.service.loops import called_on
from tenancy.service.telemetry import Telemetry
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.runtime")

Handler = Callable[[Event[Any], PortsT], Awaitable[Outcome]]
Handlers = Mapping[type[EventData], Handler[PortsT]]
OnDeadLetter = Callable[[Record, Poison, PortsT], Awaitable[None]]


def on(
    model: type[DataT], handler: Callable[[Event[DataT], PortsT], Awaitable[Outcome]]
) -> tuple[type[EventData], Handler[PortsT]]:
    """Pair a type of data with a handler of events that carry it, for a table: mypy checks that they fit."""
    return model, handler


def handled_on(loop: asyncio.AbstractEventLoop, handlers: Handlers[PortsT]) -> Handlers[PortsT]:
    """Handlers of single events, for a dispatcher that runs on another loop than the one that their ports are of."""

    def handler_on(handler: Handler[PortsT]) -> Handler[PortsT]:
        async def handled(event: Event[Any], ports: PortsT) -> Outcome:
            async def there() -> Outcome:
                return await handler(event, ports)

            return await called_on(loop, there())

        return handled

    return {model: handler_on(handler) for model, handler in handlers.items()}


@dataclass(frozen=True)
class Dispatcher(Generic[PortsT]):
    """Handles the records of one service. ``ports`` is what its handlers act through.

    ``replica``: which one, of a service whose every replica reads all of a topic in a group of its own.
    ``on_dead_letter``: what the service does with a message before it is dead-lettered; it may be called again.
    """

    service: str
    handlers: Handlers[PortsT]
    tenancy: Tenancy
    ports: PortsT
    telemetry: Telemetry
    policy: HandlingPolicy = HANDLING
    replica: str | None = None
    on_dead_letter: OnDeadLetter[PortsT] | None = None
    signatures: Signatures = TRUSTING_NOBODY

    @property
    def reader(self) -> str:
        """Who has to handle each event once: the service, or this replica of it."""
        return self.service if self.replica is None else f"{self.service}.{self.replica}"

    async def handle(self, record: Record) -> Outcome | None:
        """Handle one record; None when it is none of this service's business.

        Raises :class:`Poison` for what must be dead-lettered and :class:`Transient` for what must come again.
        """
        try:
            event = decode(record.key, record.value, record.headers)
            if event.topic != record.topic:
                raise MalformedEvent("wrong-topic", "an event of this type does not belong on this topic")
        except MalformedEvent as error:
            if not self._owns(record):
                return None  # dead-lettered once, by the topic's owner
            raise Poison(error.code, str(error)) from None
        if is_for_nobody(record, event) and self._owns(record):
            raise Poison(UNKNOWN_READER, "a copy for a reader that this topic does not have", event)
        handler = self.handlers.get(type(event.data))
        if not (handler or self._owns(record)):
            return None
        is_signed = await self._believed(event, record)
        if is_signed is None:
            return None
        if handler is None or is_for_another(self.reader, record, event):
            return None
        started = time.perf_counter()
        with self.telemetry.span(f"process {event.type}", event.traceparent, self._attributes(record, event)) as span:
            outcome = await self._outcome(handler, event)
            span.set_attribute("sano.outcome", str(outcome))
            await self.record(event, record, outcome)
        if not is_signed:
            self.telemetry.unsigned.add(1, {"type": event.type})
        self.telemetry.handling.record(time.perf_counter() - started, {"type": event.type})
        return outcome

    def _owns(self, record: Record) -> bool:
        return TOPICS[record.topic].owner == self.service

    async def _believed(self, event: Event, record: Record) -> bool | None:
        """Verify the signature: True for a signed event, False for one that is taken without, None for one that the
        topic's owner dead-letters.

        A key that only this reader does not know may be known to the owner, who then takes the event: so each reader
        dead-letters what is signed by a key that it does not know, and nothing is lost.
        """
        try:
            return await self.signatures.believed(event, record, self.tenancy.states)
        except NotBelieved as refusal:
            if not self._owns(record) and refusal.code != UNKNOWN_SIGNER:
                return None
            raise Poison(refusal.code, str(refusal), event) from None

    def run_of(self, records: Sequence[Record]) -> list[Event]:
        """The events of the first of these records, as far as one handler may take them at once; none where it is one
        record that is to be handled by itself.
        """
        run: list[Event] = []
        for record in records:
            event = event_of(record)
            if event is None or event.topic != record.topic or must_happen(event):
                break
            if run and (event.type, event.subject) != (run[0].type, run[0].subject):
                break
            handler = self.handlers.get(type(event.data))
            if not isinstance(handler, InRuns):
                break
            run.append(event)
            if len(run) == handler.most:
                break
        return run if len(run) > 1 else []

    async def handle_run(self, records: Sequence[Record], run: Sequence[Event]) -> int:
        """Handle these records, whose events are ``run``, at once; how many of them, from the first on, were handled.

        Raises :class:`Transient` and :class:`Refused`, each of which is about none of them in particular.
        """
        handler = self.handlers[type(run[0].data)]
        believed = await self.signatures.believed_run(run, records, self.tenancy.states)
        if not isinstance(handler, InRuns) or not believed:
            return 0
        run = run[: len(believed)]
        started = time.perf_counter()
        attributes = self._attributes(records[0], run[0])
        with self.telemetry.span(f"process run of {run[0].type}", run[-1].traceparent, attributes) as span:
            try:
                async with asyncio.timeout(self.policy.deadline_seconds):
                    outcomes = await handler.several(run, self.ports)
            except TimeoutError:
                raise Transient(f"the handler took longer than {self.policy.deadline_seconds} s") from None
            except TenantFenced:
                outcomes = [Outcome.REFUSED_PURGED] * len(run)
            span.set_attribute("sano.events", len(outcomes))
        await self._tell(run, records, outcomes)
        if unsigned := believed[: len(outcomes)].count(False):
            self.telemetry.unsigned.add(unsigned, {"type": run[0].type})
        for event in run[: len(outcomes)]:
            self.telemetry.handling.record(time.perf_counter() - started, {"type": event.type})
        return len(outcomes)

    async def _tell(self, run: Sequence[Event], records: Sequence[Record], outcomes: Sequence[Outcome]) -> None:
        """Publish and log each outcome. Of a run of outcomes they are only counted: there is one for every event."""
        if run[0].topic == OUTCOMES:
            for event, outcome in zip(run, outcomes, strict=False):
                self._count(event, outcome)
            return
        told = zip(run, records, outcomes, strict=False)
        published = await asyncio.gather(*(self._told(*one) for one in told), return_exceptions=True)
        for error in published:
            if isinstance(error, BaseException):
                raise error

    async def _told(self, event: Event, record: Record, outcome: Outcome) -> None:
        with self.telemetry.span(f"process {event.type}", event.traceparent, self._attributes(record, event)) as span:
            span.set_attribute("sano.outcome", str(outcome))
            await self.record(event, record, outcome)

    def _count(self, event: Event, outcome: Outcome) -> None:
        self.telemetry.events.add(1, {"type": event.type, "outcome": str(outcome)})

    @staticmethod
    def _attributes(record: Record, event: Event) -> dict[str, str]:
        return {"messaging.system": "kafka", "messaging.destination.name": record.topic, "event.type": event.type}

    async def _outcome(self, handler: Handler[PortsT], event: Event) -> Outcome:
        try:
            async with asyncio.timeout(self.policy.deadline_seconds):
                return await self._with_retries(handler, event)
        except TimeoutError:
            raise Transient(f"the handler took longer than {self.policy.deadline_seconds} s") from None
        except TenantFenced:
            return Outcome.REFUSED_PURGED
        except KeyDestroyed:
            if await self._is_fenced(event):
                return Outcome.REFUSED_PURGED
            raise Poison(KEY_MISSING, "the tenant's key is missing, and no purge destroyed it", event) from None
        except Refused as refusal:
            raise Poison(refusal.code, str(refusal), event) from None

    async def _is_fenced(self, event: Event) -> bool:
        """Whether a purge may have destroyed the tenant's key: it fences first."""
        try:
            return (await self.tenancy.states.read(TenantId(event.subject))).state.status != "active"
        except UnknownTenant as error:
            raise Poison(error.code, str(error), event) from None

    async def _with_retries(self, handler: Handler[PortsT], event: Event) -> Outcome:
        for attempt in range(1, self.policy.attempts + 1):
            try:
                return await handler(event, self.ports)
            except Refused:
                raise
            except ForbiddenKey as error:
                # The types of ids admit what keys may have; where they fail to, that lies in the message, for good.
                raise Poison(BAD_KEY, str(error), event) from None
            except Transient:
                if attempt == self.policy.attempts:
                    raise
            except Exception as error:
                if attempt == self.policy.attempts:
                    details = {"event_type": event.type, "event_id": event.id, "error": error_location(error)}
                    logger.error("handler failed", extra=details)
                    raise Poison(HANDLER_ERROR, f"{type(error).__name__} in {self.service}", event) from None
            pause = min(self.policy.backoff_limit_seconds, self.policy.backoff_seconds * 2**attempt)
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter
        raise AssertionError("the loop returns or raises")

    async def record(self, event: Event, record: Record, outcome: Outcome) -> None:
        """Publish what the handling came to, before the acknowledgement.

        Raises :class:`BusUnavailable` also where the bus refuses it: rights that are missing are nothing that the event
        could be passed over for, and once they are there it is told.
        """
        self._count(event, outcome)
        context = trace.get_current_span().get_span_context()
        logger.info(
            "handled",
            extra={
                "event_type": event.type,
                "event_id": event.id,
                "outcome": str(outcome),
                "trace_id": f"{context.trace_id:032x}",
            },
        )
        if record.topic == OUTCOMES:
            return  # an outcome of an outcome would never end
        told = OutcomeRecorded(
            event_id=event.id,
            event_type=event.type,
            consumer=self.reader,
            outcome=outcome,
            delivery=f"{record.topic}/{record.partition}/{record.offset}",
            replay_id=event.replay_id,
        )
        try:
            await self.tenancy.outbox.publish(event.subject, told, causation_id=event.id)
        except Refused as refusal:
            raise BusUnavailable(f"the outcome was not accepted: {refusal}") from None
