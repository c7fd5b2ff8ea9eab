"""Connects the commands of replays and dead letters to the topics that they read and send to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from producers.cli.output import counted
from producers.cli.platform import platform

if TYPE_CHECKING:
    from producers.replay.fences import Fences
    from producers.replay.journal import Journal
    from producers.replay.log import EventLog
    from producers.replay.plan import ReplayPlan
    from producers.replay.running import Limits, Run
    from producers.replay.vouching import Vouching
    from producers.settings import OperatorSettings
    from tenancy.bootstrap import Tenancy

T = TypeVar("T")


def fences(tenancy: Tenancy) -> Fences:
    from producers.replay.fences import Fences

    return Fences([tenancy.states])


def reading(
    context: typer.Context,
    act: Callable[[Tenancy, OperatorSettings, EventLog], Awaitable[T]],
    elsewhere: OperatorSettings | None = None,
) -> T:
    """Run ``act`` with the object store and the bus's topics, for reading only."""
    here = platform(context)
    settings = elsewhere or here.settings()

    async def run() -> T:
        async with here.log(settings) as log, here.reading(settings) as tenancy:
            return await act(tenancy, settings, log)

    return asyncio.run(run())


def _vouching(settings: OperatorSettings) -> Vouching:
    """Raises :class:`Refused` where the operator has no event key."""
    from producers.replay.vouching import Vouching
    from schemas.evidence.purposes import Purpose
    from tenancy.bootstrap import signer, trust
    from tenancy.evidence.event_signatures import EventSigner, EventVerifier

    return Vouching(EventVerifier(trust(settings)), EventSigner(signer(settings, Purpose.EVENT)))


def running(
    context: typer.Context,
    plan: ReplayPlan,
    journal: Journal,
    limits: Limits,
    to: Path | None,
    act: Callable[[Run], Awaitable[T]],
    *,
    vouch: bool = False,
) -> T:
    """Run ``act`` on a run that is connected to where the events are and to where they go."""
    from producers.replay.fences import Fences
    from producers.replay.handling import Handling
    from producers.replay.rebuilding import CausalOrder
    from producers.replay.running import InAnyOrder, Order, Run, Target
    from producers.settings import installation_settings
    from tenancy.errors import Refused

    here = platform(context)
    settings = here.settings()
    target_settings = installation_settings(to) if to else settings
    if to and (target_settings.kafka_bootstrap_servers, target_settings.s3_bucket) == (
        settings.kafka_bootstrap_servers,
        settings.s3_bucket,
    ):
        raise Refused(
            "same-installation", f"refused: {to} is the installation that the events are from; leave out --to"
        )
    if to and plan.selection.dead_letters:
        raise Refused("foreign-letters", "refused: dead letters are sent to where they came from; leave out --to")

    vouching = _vouching(target_settings) if vouch else None

    async def run() -> T:
        async with AsyncExitStack() as stack:
            source = await stack.enter_async_context(here.log(settings))
            log = await stack.enter_async_context(here.log(target_settings))
            tenancy = await stack.enter_async_context(here.commanding(target_settings))
            name = f"{target_settings.kafka_bootstrap_servers}, bucket {target_settings.s3_bucket}"
            target = Target(name, log, tenancy)
            registries = [tenancy.states]
            if to:
                registries.insert(0, (await stack.enter_async_context(here.reading(settings))).states)
            order: Order = InAnyOrder()
            with counted("replay") as progress:
                if to:
                    handling = Handling(log, tenancy, limits.timeout_seconds)
                    order = CausalOrder(
                        target,
                        handling,
                        limits.timeout_seconds,
                        lambda status: progress(status, len(journal.sent), plan.messages),
                        tuple(journal.sent),
                    )
                fences = Fences(registries, spares_a_purge=to is None)
                return await act(Run(plan, source, target, fences, journal, limits, order, progress, vouching))

    return asyncio.run(run())
