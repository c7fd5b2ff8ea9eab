"""The outermost middleware: every error of parsing or handling becomes a dead letter or a paced redelivery.

With ``NACK_ON_ERROR`` an exception that leaves this middleware rewinds the consumer to the message. Poison never
leaves it, so no message can block a partition; everything else comes again after a pause, so no rewind is hot, is
counted as a failure, and becomes poison when it goes on although store, keys and bus answer. The outcome and the dead
letter are published, and acknowledged by the bus, before the message is: if that fails, the message comes again.

What a purge or a retirement is made of is never dead-lettered for a failure of ours. It is sent to the back of its
topic instead: what is behind it goes on, and it comes again by itself, until it has happened.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from types import TracebackType
from typing import Any

from faststream import BaseMiddleware

from consumers.runtime.dead_letters import Reason, cut_letter, dead_letter
from consumers.runtime.dispatch import Dispatcher
from consumers.runtime.liveness import Progress
from consumers.runtime.parsing import Record, event_of
from consumers.runtime.poison import HANDLER_ERROR, KEEPS_FAILING, OURS, Poison
from consumers.runtime.redeliveries import Redeliveries
from consumers.runtime.sent_back import copies_for, must_happen
from schemas.bus.dead_letters import TOO_LARGE
from schemas.bus.outcome import Outcome
from tenancy.errors import MessageTooLarge, Refused, Transient
from tenancy.service.telemetry import SCOPE, safe_message

logger = logging.getLogger(f"{SCOPE}.runtime")


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
            poison = await self._passed_over(exc_val)
            if poison is None:
                await self._pause()
                return False
            # Malformed input is the sender's fault; only our own failures count towards stopping this consumer.
            failed = poison.is_ours
            return True
        finally:
            self._progress.end(failed=failed)

    async def _passed_over(self, error: Exception) -> Poison | None:
        """What the message was passed over for, once the bus has that; None when the message is to come again."""
        try:
            poison = await self._judged(error)
            if poison is None:
                return None
            if poison.is_ours and not self._progress.is_alive():
                # Everything fails here, as after a bad deploy: stop, rather than dead-letter whatever comes.
                logger.error("stopped after consecutive failures", extra={"consumer": self._dispatcher.service})
                return None
            if not (_is_sent_back(poison) and await self._sent_back(poison)):
                await self._bury(poison)
            return poison
        except Exception as failure:
            # None may leave this middleware: the rewind that follows would be hot, uncounted and unseen.
            details = {"reason": safe_message(failure), "consumer": self._dispatcher.service}
            logger.error("not dead-lettered, will be redelivered", extra=details)
            return None

    async def _judged(self, error: Exception) -> Poison | None:
        """What the message is to be passed over for; None when it is to come again."""
        poison = error if isinstance(error, Poison) else self._failure(error)
        if poison is error and not (poison.may_pass or _is_sent_back(poison)):
            return poison
        logger.warning("will be redelivered", extra={"reason": safe_message(error)})
        is_over = await self._redeliveries.is_patience_over(self.msg, self._dispatcher.tenancy)
        return poison if is_over else None

    def _failure(self, error: Exception) -> Poison:
        """What kept the message from being handled was no judgement on it: whatever it is, it is a failure of ours."""
        if isinstance(error, Transient):
            code = KEEPS_FAILING
        else:
            code = error.code if isinstance(error, Refused) and error.code in OURS else HANDLER_ERROR
        return Poison(code, f"{type(error).__name__} in {self._dispatcher.service}", event_of(self.msg))

    async def _bury(self, poison: Poison) -> None:
        dispatcher = self._dispatcher
        record: Record = self.msg
        if dispatcher.on_dead_letter is not None:
            await dispatcher.on_dead_letter(record, poison, dispatcher.ports)
        if poison.event is not None:
            # First, since it has an id: said again it is the same outcome, and a second letter would be a second one.
            await dispatcher.record(poison.event, record, Outcome.DEAD_LETTERED)
        reason = Reason(poison.code, poison.detail, dispatcher.service, dispatcher.tenancy.clock())
        publisher, code = dispatcher.tenancy.publisher, poison.code
        try:
            await publisher.publish_raw(dead_letter(record, reason))
        except MessageTooLarge:
            await publisher.publish_raw(cut_letter(record, reason))
            code = TOO_LARGE
        dispatcher.telemetry.dead_letters.add(1, {"topic": record.topic, "reason": code})

    async def _sent_back(self, poison: Poison) -> bool:
        """False for what fills a message by itself: no copy of it can name its reader."""
        dispatcher = self._dispatcher
        record: Record = self.msg
        for copy in copies_for(dispatcher.reader, record, poison.event):
            with suppress(MessageTooLarge):
                await dispatcher.tenancy.publisher.publish_raw(copy)
                break
        else:
            return False
        dispatcher.telemetry.sent_back.add(1, {"topic": record.topic, "reason": poison.code})
        logger.error("sent to the back of its topic", extra={"reason": poison.code, "consumer": dispatcher.service})
        return True

    async def _pause(self) -> None:
        pause = self._dispatcher.policy.redelivery_pause_seconds
        await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter


def _is_sent_back(poison: Poison) -> bool:
    return poison.is_ours and must_happen(poison.event)


def outermost(dispatcher: Dispatcher, progress: Progress) -> Any:
    """The factory that FastStream calls for each message of one consumer."""
    redeliveries = Redeliveries(dispatcher.policy.deliveries)

    def make(message: Any, /, *, context: Any) -> OutermostMiddleware:
        return OutermostMiddleware(
            message, context=context, dispatcher=dispatcher, progress=progress, redeliveries=redeliveries
        )

    return make
