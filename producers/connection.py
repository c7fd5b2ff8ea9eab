"""Connects operators' commands to a tenancy: with the bus for commands, without it for reads."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from producers.settings import ImportSettings, OperatorSettings
from tenancy.bootstrap import Tenancy, event_signer, open_reading, open_tenancy
from tenancy.bus import Publisher

SOURCE = "operators"
EVENT_SOURCE = f"/sanolith/{SOURCE}"
"""``ce_source`` of what commands publish."""


def for_commands(settings: OperatorSettings) -> AbstractAsyncContextManager[Tenancy]:
    """Connected to the bus and the object store. Entering raises :class:`BusUnavailable` and :class:`Refused`."""
    return open_tenancy(settings, SOURCE)


def for_publishing(settings: ImportSettings) -> AbstractAsyncContextManager[Publisher]:
    """Connected to the bus only. Entering raises :class:`BusUnavailable`, and this :class:`Refused`."""
    from tenancy.kafka_publisher import KafkaPublisher

    return KafkaPublisher(settings.kafka_client(), event_signer(settings))


def for_reading(settings: OperatorSettings) -> AbstractAsyncContextManager[Tenancy]:
    """Connected to the object store only. Entering raises :class:`Refused` when there is no master key."""
    return open_reading(settings, SOURCE)
