"""The outermost middleware: every error of parsing or handling becomes a dead letter or a paced redelivery.

With ``NACK_ON_ERROR`` an exception that leaves this middleware rewinds the consumer to the message. Poison never
leaves it, so no message can block a partition; what is transient leaves it after a pause, so no rewind is hot, and
becomes poison when it goes on although store and bus answer. The outcome and the dead letter are published, and
acknowledged by the bus, before the message is: if that fails, the message comes again.

What a purge or a retirement is made of is never dead-lettered for a failure of ours. It is sent to the back of its
topic instead: what is behind it goes on, and it comes again by itself, until it has happened.
"""

from __future__ import annotations

import asyncio
import logging
import random
from types import TracebackType
from typing import Any

from faststream import BaseMiddleware

from consumers.runtime.dead_letters import dead_letter
from consumers.runtime.dispatch import HANDLER_ERROR, KEEPS_FAILING, Dispatcher, Poison
from consumers.runtime.in_hand import ENDS_ITS_PROCESS
from consumers.runtime.liveness import Progress
from consumers.runtime.parsing import Record
from consumers.runtime.redeliveries import Redeliveries
from consumers.runtime.telemetry import SCOPE
from schemas.envelope import decode
from schemas.events import AdapterRetired, EventData, PurgeFenced, PurgeRequested, ReplicaEvicted, TenantChurned
from schemas.outcome import Outcome
from tenancy.bus import RawMessage
from tenancy.errors import Transient

logger = logging.getLogger(f"{SCOPE}.runtime")

MUST_HAPPEN: tuple[type[EventData], ...] = (TenantChurned, PurgeRequested, PurgeFenced, AdapterRetired, ReplicaEvicted)
"""What removals are made of. All are safe at any time and in any order, so that they may wait at the back."""
OURS = frozenset({HANDLER_ERROR, KEEPS_FAILING, ENDS_ITS_PROCESS, "bus-refused", "object-store-refused"})
"""Reasons that are a failure of this installation, and none of the event's."""


class OutermostMiddleware(BaseMiddleware):
    """One instance per message; made by :func:`outermost`."""

    def __init__(
        self, message: Any, /, *, context: Any, dispatcher: Dispatcher, progress: Progress, redeliveries: Redeliveries
    ) -> None:
        super().__init__(message, context=context)
        self._dispatcher = dispatcher
        self._progress = progress
        self._redeliveries = redeliveries

    async def on_receive(self) -> None:
        self._progress.begin()

    async def after_processed(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> bool | None:
        failed = True
        try:
            if exc_val is None:
                failed = False
                return None
            if isinstance(exc_val, asyncio.CancelledError) or not isinstance(exc_val, Exception):
                return False
            poison = await self._judged(exc_val)
            if poison is None:
                await self._pause()
                return False
            # Malformed input is the sender's fault; only our own failures count towards stopping this consumer.
            failed = poison.code in (HANDLER_ERROR, KEEPS_FAILING, ENDS_ITS_PROCESS)
            if failed and not self._progress.is_alive():
                # Everything fails here, as after a bad deploy: stop, rather than dead-letter whatever comes.
                logger.error("stopped, everything fails", extra={"consumer": self._dispatcher.service})
                await self._pause()
                return False
            if _must_happen(poison):
                await self._send_back(poison)
            else:
                await self._bury(poison)
            return True
        except Transient as error:
            logger.warning("dead letter not accepted, will come again", extra={"reason": str(error)})
            await self._pause()
            return False
        finally:
            self._progress.end(failed=failed)

    async def _judged(self, error: Exception) -> Poison | None:
        """What the message is passed over for; None when it is to come again."""
        record: Record = self.msg
        if isinstance(error, Transient):
            logger.warning("will come again", extra={"reason": str(error)})
            if not await self._redeliveries.is_patience_over(record, self._dispatcher.tenancy):
                return None
            event = decode(record.key, record.value, record.headers)  # as it was before its handler was called
            return Poison(KEEPS_FAILING, f"{type(error).__name__} in {self._dispatcher.service}", event)
        poison = error if isinstance(error, Poison) else Poison("unparsable", type(error).__name__)
        if not _must_happen(poison):
            return poison
        is_over = await self._redeliveries.is_patience_over(record, self._dispatcher.tenancy)
        return poison if is_over else None

    async def _bury(self, poison: Poison) -> None:
        dispatcher = self._dispatcher
        record: Record = self.msg
        letter = dead_letter(
            record,
            code=poison.code,
            detail=poison.detail,
            consumer=dispatcher.service,
            now=dispatcher.tenancy.clock(),
        )
        if poison.event is not None:
            # First, since it has an id: said again it is the same outcome, and a second letter would be a second one.
            await dispatcher.record(poison.event, record, Outcome.DEAD_LETTERED)
        await dispatcher.tenancy.publisher.publish_raw(letter)
        dispatcher.telemetry.dead_letters.add(1, {"topic": record.topic, "reason": poison.code})

    async def _send_back(self, poison: Poison) -> None:
        dispatcher = self._dispatcher
        record: Record = self.msg
        message = RawMessage(record.topic, record.key, record.value, record.headers)
        await dispatcher.tenancy.publisher.publish_raw(message)
        dispatcher.telemetry.sent_back.add(1, {"topic": record.topic, "reason": poison.code})
        logger.error("sent to the back of its topic", extra={"reason": poison.code, "consumer": dispatcher.service})

    async def _pause(self) -> None:
        pause = self._dispatcher.policy.redelivery_pause_seconds
        await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter


def _must_happen(poison: Poison) -> bool:
    is_command = poison.event is not None and isinstance(poison.event.data, MUST_HAPPEN)
    return is_command and poison.code in OURS


def outermost(dispatcher: Dispatcher, progress: Progress) -> Any:
    """The factory that FastStream calls for each message of one consumer."""
    redeliveries = Redeliveries(dispatcher.policy.deliveries)

    def make(message: Any, /, *, context: Any) -> OutermostMiddleware:
        return OutermostMiddleware(
            message, context=context, dispatcher=dispatcher, progress=progress, redeliveries=redeliveries
        )

    return make
