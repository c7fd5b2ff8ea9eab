"""Handles records, once: every error becomes a dead letter, a copy at the back, or another attempt after a pause.

Poison ends the record, so that no message can block its lane. Everything else comes again, is counted as a failure, and
becomes poison when it goes on although store, keys and bus answer. The outcome and the dead letter are published, and
acknowledged by the bus, before the record has ended: if that fails, it comes again.

What a purge or a retirement is made of is never dead-lettered for a failure of ours. It is sent to the back of its
topic instead: what is behind it goes on, and it comes again by itself, until it has happened.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from consumers.runtime.crash_loops import CrashLoopGuard
from consumers.runtime.dead_letters import Reason, cut_letter, dead_letter
from consumers.runtime.dispatch import Dispatcher
from consumers.runtime.liveness import Progress
from consumers.runtime.parsing import Partition, Record, event_of
from consumers.runtime.poison import HANDLER_ERROR, KEEPS_FAILING, OURS, Poison
from consumers.runtime.redeliveries import Redeliveries
from consumers.runtime.requeue import copy_for, must_happen
from schemas.bus.dead_letters import REASON
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from tenancy.errors import MessageTooLarge, Outage, Refused, Transient
from tenancy.platform.logs import SCOPE, safe_message

logger = logging.getLogger(f"{SCOPE}.runtime")


@dataclass(frozen=True)
class Handling:
    """What one consumer makes of each of its records. Attempts at different records may go on side by side."""

    dispatcher: Dispatcher[Any]
    progress: Progress
    crash_loops: CrashLoopGuard
    redeliveries: Redeliveries

    async def attempt(self, records: Sequence[Record]) -> int:
        """Handle the first of these records, one lane's, or several of them at once; how many have ended."""
        run = self.dispatcher.run_of(records)
        at_once = self.crash_loops.at_once(records[: len(run)]) if run else 0
        if at_once > 1:
            try:
                return await self._attempt_run(records[:at_once], run[:at_once]) or await self.attempt_one(records[0])
            except Refused:
                pass  # as it is said of each of them, one after another
            except Exception as error:
                logger.warning("run will be redelivered one by one", extra={"reason": safe_message(error)})
                return 0
        return await self.attempt_one(records[0])

    async def _attempt_run(self, records: Sequence[Record], run: Sequence[Event]) -> int:
        async with self.crash_loops.guarding_run(records):
            number, ended = self.progress.begin(), 0
            try:
                ended = await self.dispatcher.handle_run(records, run)
            finally:
                self.progress.end(number, has_succeeded=ended > 0)
        for record in records[:ended]:
            self.redeliveries.forget(record)
        return ended

    async def attempt_one(self, record: Record) -> bool:
        """Whether the record has ended: handled, dead-lettered or sent back. Else it is to come again after a pause.

        Raises nothing but what ends the process. Cancelled, it gives up the record, which comes again elsewhere.
        """
        number: int | None = None
        try:
            try:
                # It may wait there for its turn, which is no time that this record takes.
                async with self.crash_loops.guarding(record):
                    number = self.progress.begin()
                    await self.dispatcher.handle(record)
            except Exception as error:
                number = self.progress.begin() if number is None else number
                poison = await self._passed_over(record, error)
                # Malformed input is the sender's fault; only our own failures count towards stopping this consumer.
                has_ended, has_succeeded = poison is not None, poison is not None and not poison.is_ours
            else:
                has_ended = has_succeeded = True
            self.progress.end(number, has_succeeded=has_succeeded)
            number = None
            if has_ended:
                self.redeliveries.forget(record)
                await self.crash_loops.ended(record)
            return has_ended
        finally:
            if number is not None:
                self.progress.end(number)

    def revoked(self, partitions: Collection[Partition]) -> None:
        self.redeliveries.forget_all(partitions)

    async def _passed_over(self, record: Record, error: Exception) -> Poison | None:
        """What the record was passed over for, once the bus has that; None when the record is to come again."""
        is_counted = False
        try:
            poison = await self._judged(record, error)
            if poison is not None and not poison.is_ours:
                await self._bury(record, poison)
                return poison
            has_stopped = not self.progress.is_alive()
            # Before anything is published, or lanes that wait for the bus side by side would each publish one more.
            self.progress.fail()
            is_counted = True
            if poison is None:
                return None
            if has_stopped:
                # Everything fails here, as after a bad deploy: stop, rather than dead-letter whatever comes.
                logger.error("stopped after consecutive failures", extra={"consumer": self.dispatcher.service})
                return None
            if not (_is_to_requeue(poison) and await self._requeue(record, poison)):
                await self._bury(record, poison)
            return poison
        except Exception as failure:
            # None may leave here: what follows would be uncounted and unseen.
            if not is_counted:
                self.progress.fail()
            details = {"reason": safe_message(failure), "consumer": self.dispatcher.service}
            logger.error("not dead-lettered, will be redelivered", extra=details)
            return None

    async def _judged(self, record: Record, error: Exception) -> Poison | None:
        """What the record is to be passed over for; None when it is to come again."""
        poison = error if isinstance(error, Poison) else self._failure(record, error)
        if poison is error and not (poison.may_pass or _is_to_requeue(poison)):
            return poison
        logger.warning("will be redelivered", extra={"reason": safe_message(error)})
        if isinstance(error, Outage):
            return None
        is_over = await self.redeliveries.is_patience_over(record, self.dispatcher.tenancy)
        return poison if is_over else None

    def _failure(self, record: Record, error: Exception) -> Poison:
        """What kept the record from being handled was no judgement on it: whatever it is, it is a failure of ours."""
        if isinstance(error, Transient):
            code = KEEPS_FAILING
        else:
            code = error.code if isinstance(error, Refused) and error.code in OURS else HANDLER_ERROR
        return Poison(code, f"{type(error).__name__} in {self.dispatcher.service}", event_of(record))

    async def _bury(self, record: Record, poison: Poison) -> None:
        dispatcher = self.dispatcher
        if dispatcher.on_dead_letter is not None:
            await dispatcher.on_dead_letter(record, poison, dispatcher.ports)
        if poison.event is not None:
            # First, since it has an id: said again it is the same outcome, and a second letter would be a second one.
            await dispatcher.record(poison.event, record, Outcome.DEAD_LETTERED)
        reason = Reason(poison.code, poison.detail, dispatcher.service, dispatcher.tenancy.clock())
        publisher, letter = dispatcher.tenancy.publisher, dead_letter(record, reason)
        try:
            await publisher.publish_raw(letter)
        except MessageTooLarge:
            letter = cut_letter(record, reason)
            await publisher.publish_raw(letter)
        code = (dict(letter.headers)[REASON] or b"").decode()
        dispatcher.telemetry.dead_letters.add(1, {"topic": record.topic, "reason": code})

    async def _requeue(self, record: Record, poison: Poison) -> bool:
        """False for what fills a message: no copy of it can name its reader."""
        dispatcher = self.dispatcher
        try:
            await dispatcher.tenancy.publisher.publish_raw(copy_for(dispatcher.reader, record))
        except MessageTooLarge:
            return False
        dispatcher.telemetry.requeued.add(1, {"topic": record.topic, "reason": poison.code})
        logger.error("sent to the back of its topic", extra={"reason": poison.code, "consumer": dispatcher.service})
        return True


def _is_to_requeue(poison: Poison) -> bool:
    return poison.is_ours and must_happen(poison.event)
