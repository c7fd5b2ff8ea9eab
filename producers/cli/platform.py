"""Gives commands their settings and ports. Tests put another :class:`Platform` in the context."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from producers.replay.log import EventLog
    from producers.settings import ImportSettings, OperatorSettings
    from tenancy.bootstrap import Tenancy
    from tenancy.bus import Publisher

T = TypeVar("T")


def _kafka_log(settings: OperatorSettings) -> AbstractAsyncContextManager[EventLog]:
    from producers.replay.kafka_log import kafka_log

    return kafka_log(settings.kafka_client())


def _publisher(settings: ImportSettings) -> AbstractAsyncContextManager[Publisher]:
    from producers.connection import for_publishing

    return for_publishing(settings)


@dataclass(frozen=True)
class Platform:
    """Each connects for the life of one command: ``reading`` without the bus, ``commanding`` with it; ``log`` reads its
    topics, and ``publishing`` does without the object store."""

    settings: Callable[[], OperatorSettings]
    reading: Callable[[OperatorSettings], AbstractAsyncContextManager[Tenancy]]
    commanding: Callable[[OperatorSettings], AbstractAsyncContextManager[Tenancy]]
    log: Callable[[OperatorSettings], AbstractAsyncContextManager[EventLog]] = _kafka_log
    publishing: Callable[[ImportSettings], AbstractAsyncContextManager[Publisher]] = _publisher

    @classmethod
    def real(cls) -> Platform:
        """The installation that the environment, or the stack file of this folder, points at."""
        from producers.connection import for_commands, for_reading
        from producers.settings import operator_settings

        return cls(operator_settings, for_reading, for_commands)


def platform(context: typer.Context) -> Platform:
    """The platform of this invocation."""
    given = context.obj
    return given if isinstance(given, Platform) else Platform.real()


def read(context: typer.Context, look: Callable[[Tenancy, OperatorSettings], Awaitable[T]]) -> T:
    """Run ``look`` with the object store only."""
    here = platform(context)
    settings = here.settings()

    async def run() -> T:
        async with here.reading(settings) as tenancy:
            return await look(tenancy, settings)

    return asyncio.run(run())


def command(context: typer.Context, act: Callable[[Tenancy, OperatorSettings], Awaitable[T]]) -> T:
    """Run ``act`` connected to the bus as well."""
    here = platform(context)
    settings = here.settings()

    async def run() -> T:
        async with here.commanding(settings) as tenancy:
            return await act(tenancy, settings)

    return asyncio.run(run())
