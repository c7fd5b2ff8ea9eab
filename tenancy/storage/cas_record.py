"""Changes one record that several processes write: each writes only over what it made its change from."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from tenancy.errors import ContendedState, PreconditionFailed

ATTEMPTS = 16
CONTENDED = f"a record was changed by others {ATTEMPTS} times in a row"

RecordT = TypeVar("RecordT")
EtagT = TypeVar("EtagT", bound=str | None)


class Swapped(NamedTuple, Generic[RecordT, EtagT]):
    record: RecordT
    etag: EtagT
    written: bool


@dataclass(frozen=True)
class CasRecord(Generic[RecordT, EtagT]):
    """``read`` gives the record and its ETag. ``write`` puts another in its place, and raises
    :class:`PreconditionFailed` where that ETag is not the present one.
    """

    read: Callable[[], Awaitable[tuple[RecordT, EtagT]]]
    write: Callable[[RecordT, EtagT], Awaitable[EtagT]]

    async def swap(
        self, change: Callable[[RecordT], RecordT], *, base: tuple[RecordT, EtagT] | None = None
    ) -> Swapped[RecordT, EtagT]:
        """``change`` is pure and may run several times, each time on the record that is current then; what it returns
        as it was is not written. ``base`` saves the first read. Raises what ``change`` and ``read`` raise, and
        :class:`ContendedState` after too many lost races.
        """
        record, etag = base or await self.read()
        for attempt in range(ATTEMPTS):
            changed = change(record)
            if changed == record:
                return Swapped(record, etag, written=False)
            try:
                return Swapped(changed, await self.write(changed, etag), written=True)
            except PreconditionFailed:
                await asyncio.sleep(random.uniform(0, 0.01) * 2 ** min(attempt, 6))  # noqa: S311 - jitter
                record, etag = await self.read()  # after the pause, or the pause itself would make it stale
        raise ContendedState(CONTENDED)
