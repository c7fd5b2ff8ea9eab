"""The outermost middleware: every error of parsing or handling becomes a dead letter or a paced redelivery.

With ``NACK_ON_ERROR`` an exception that leaves this middleware rewinds the consumer to the message. Poison never
leaves it, so no message can block a partition; what is transient leaves it after a pause, so no rewind is hot. The
dead letter is published, and acknowledged by the bus, before the message is: if that fails, the message comes again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from types import TracebackType
from typing import Any

from faststream import BaseMiddleware

from consumers.runtime.dead_letters import dead_letter
from consumers.runtime.dispatch import HANDLER_ERROR, Dispatcher, Poison
from consumers.runtime.liveness import Progress
from consumers.runtime.parsing import Record
from consumers.runtime.telemetry import SCOPE
from schemas.outcome import Outcome
from tenancy.errors import Transient

logger = logging.getLogger(f"{SCOPE}.runtime")


class OutermostMiddleware(BaseMiddleware):
    """One instance per message; made by :func:`outermost`."""

    def __init__(self, message: Any, /, *, context: Any, dispatcher: Dispatcher, progress: Progress) -> None:
        super().__init__(message, context=context)
        self._dispatcher = dispatcher
        self._progress = progress

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
            if isinstance(exc_val, Transient):
                logger.warning("will come again", extra={"reason": str(exc_val)})
                await self._pause()
                return False
            poison = exc_val if isinstance(exc_val, Poison) else Poison("unparsable", type(exc_val).__name__)
            # Malformed input is the sender's fault; only our own failures count towards stopping this consumer.
            failed = poison.code == HANDLER_ERROR
            if failed and not self._progress.is_alive():
                # Everything fails here, as after a bad deploy: stop, rather than dead-letter whatever comes.
                logger.error("stopped, everything fails", extra={"consumer": self._dispatcher.service})
                await self._pause()
                return False
            await self._bury(poison)
            return True
        except Transient as error:
            logger.warning("dead letter not accepted, will come again", extra={"reason": str(error)})
            await self._pause()
            return False
        finally:
            self._progress.end(failed=failed)

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
        await dispatcher.tenancy.publisher.publish_raw(letter)
        dispatcher.telemetry.dead_letters.add(1, {"topic": record.topic, "reason": poison.code})
        if poison.event is not None:
            await dispatcher.record(poison.event, record, Outcome.DEAD_LETTERED)

    async def _pause(self) -> None:
        pause = self._dispatcher.policy.redelivery_pause_seconds
        await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter


def outermost(dispatcher: Dispatcher, progress: Progress) -> Any:
    """The factory that FastStream calls for each message."""

    def make(message: Any, /, *, context: Any) -> OutermostMiddleware:
        return OutermostMiddleware(message, context=context, dispatcher=dispatcher, progress=progress)

    return make
