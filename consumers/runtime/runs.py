"""Declares handlers that may take a batch of like events of one tenant at once: a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from schemas.bus.envelope import DataT, Event
from schemas.bus.outcome import Outcome

RUN = 256
"""So many events are in a run at most: their requests to the object store fit into the deadline of one handling."""
LONG_RUN = 2 * RUN
"""So many where each costs one request at most."""

PortsT = TypeVar("PortsT")

OneHandler = Callable[[Event[DataT], PortsT], Awaitable[Outcome]]
SeveralHandler = Callable[[Sequence[Event[DataT]], PortsT], Awaitable[Sequence[Outcome]]]
"""Handles events of one type and one tenant, in their order and as if one after another; the outcomes of the first of
them, as many as it took. None at all where the first one needs to be handled by itself.

What it raises is about none of them in particular: they come again, the first of them by itself.
"""


@dataclass(frozen=True)
class InRuns(Generic[DataT, PortsT]):
    """A handler of single events that can also take a run of them, of ``most`` at a time."""

    one: OneHandler[DataT, PortsT]
    several: SeveralHandler[DataT, PortsT]
    most: int = RUN

    async def __call__(self, event: Event[DataT], ports: PortsT) -> Outcome:
        return await self.one(event, ports)
