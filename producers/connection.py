"""Connects operators' commands to a tenancy: with the bus for commands, without it for reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing

from producers.settings import ImportSettings, OperatorSettings
from schemas.bus.envelope import Event
from tenancy.bootstrap import Tenancy, assemble, event_signer, master_key, open_store, open_tenancy
from tenancy.bus import KafkaPublisher, Publisher, RawMessage
from tenancy.errors import Refused

SOURCE = "operators"
EVENT_SOURCE = f"/sanolith/{SOURCE}"
"""``ce_source`` of what commands publish."""


class NoBus:
    """The publisher of reads, so that looking at a tenant works while the bus is down."""

    async def publish(self, event: Event) -> None:
        raise Refused("read-only", "refused: this connection only reads")

    async def publish_raw(self, message: RawMessage) -> None:
        raise Refused("read-only", "refused: this connection only reads")

    async def answers(self) -> bool:
        return False


def for_commands(settings: OperatorSettings) -> AbstractAsyncContextManager[Tenancy]:
    """Connected to the bus and the object store. Entering raises :class:`BusUnavailable` and :class:`Refused`."""
    return open_tenancy(settings, SOURCE)


def for_publishing(settings: ImportSettings) -> AbstractAsyncContextManager[Publisher]:
    """Connected to the bus only. Entering raises :class:`BusUnavailable`, and this :class:`Refused`."""
    return KafkaPublisher(settings.kafka_client(), event_signer(settings))


@asynccontextmanager
async def for_reading(settings: OperatorSettings) -> AsyncIterator[Tenancy]:
    """Connected to the object store only. Entering raises :class:`Refused` when there is no master key."""
    master = master_key(settings)
    async with open_store(settings) as store:
        tenancy = assemble(store, master, NoBus(), EVENT_SOURCE)
        with closing(tenancy.keys):
            yield tenancy
