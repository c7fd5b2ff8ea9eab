"""Lists dead letters, and redrives them after a fix: ``sano dlq list|redrive``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.options import JsonOption
from producers.cli.output import print_facts, print_json, print_rows, waiting
from producers.cli.replay_connection import fences, reading, running
from producers.cli.replay_options import (
    CanaryOption,
    ConsumersOption,
    EventsOption,
    ExecuteOption,
    HandlingTimeoutOption,
    MaxDeadLettersOption,
    RateOption,
    ReasonsOption,
    TenantsOption,
    TopicsOption,
    VouchOption,
    selection,
)
from producers.cli.replay_output import plan_facts, print_report, say_what_letters_lack

if TYPE_CHECKING:
    from producers.replay.log import EventLog
    from producers.replay.plan import ReplayPlan
    from producers.replay.reporting import ReplayReport
    from producers.replay.running import Run
    from producers.replay.selection import Selection
    from producers.settings import OperatorSettings
    from tenancy.bootstrap import Tenancy

dlq = typer.Typer(help="Look at dead letters, and send them again after a fix.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(dlq, name="dlq")


@dlq.command("list")
def list_(
    context: typer.Context,
    topic: TopicsOption = None,
    reason: ReasonsOption = None,
    consumer: ConsumersOption = None,
    tenant: TenantsOption = None,
    event_id: EventsOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows to print, the newest; --json prints all.")] = 50,
    json: JsonOption = False,
) -> None:
    """List dead letters and why each is there.

    With how often it failed, and whether it was sent again.
    """
    from producers.replay.letters import Letter, letters

    chosen = letters_of(topic, reason, consumer, tenant, event_id)

    async def act(tenancy: Tenancy, settings: OperatorSettings, log: EventLog) -> list[Letter]:
        with waiting("dead letters") as report:
            report("reading")
            return await letters(log, fences(tenancy), chosen)

    found = reading(context, act)
    if json:
        return print_json(found)
    print_rows(
        found[-limit:],
        {
            "letter": lambda letter: letter.letter,
            "original": lambda letter: letter.original,
            "since": lambda letter: letter.at,
            "reason": lambda letter: letter.reason,
            "consumer": lambda letter: letter.consumer,
            "failed": lambda letter: f"{len(letter.failures)}x",
            "type": lambda letter: letter.type,
            "tenant": lambda letter: letter.tenant,
            "event": lambda letter: letter.event_id,
            "status": lambda letter: letter.status,
        },
        empty="there are no such dead letters",
    )
    if len(found) > limit:
        typer.echo(f"… and {len(found) - limit} older ones")
    return None


@dlq.command("redrive")
def redrive(
    context: typer.Context,
    topic: TopicsOption = None,
    reason: ReasonsOption = None,
    consumer: ConsumersOption = None,
    tenant: TenantsOption = None,
    event_id: EventsOption = None,
    execute: ExecuteOption = False,
    vouch: VouchOption = False,
    rate: RateOption = 50.0,
    canary: CanaryOption = 1,
    max_dead_letters: MaxDeadLettersOption = 0,
    timeout: HandlingTimeoutOption = 300.0,
    json: JsonOption = False,
) -> None:
    """Send dead letters again to where they came from, each once.

    A dry run without --execute.
    """
    from producers.commands.requests import random_id
    from producers.replay.journal import Journal
    from producers.replay.planning import Planner
    from producers.replay.reporting import report as joined
    from producers.replay.running import Limits

    chosen = letters_of(topic, reason, consumer, tenant, event_id)

    async def plan(tenancy: Tenancy, settings: OperatorSettings, log: EventLog) -> ReplayPlan:
        with waiting("dead letters") as report:
            report("reading")
            return await Planner(log, fences(tenancy)).plan(
                chosen, replay_id=f"redrive-{random_id()}", made_by=settings.operator_id, made_at=tenancy.clock()
            )

    made = reading(context, plan)
    if not execute:
        if json:
            return print_json(made)
        print_facts(plan_facts(made))
        say_what_letters_lack(made)
        return typer.echo("\nnothing is sent; --execute sends")
    limits = Limits(
        rate=rate, canary=canary, max_effects=None, max_dead_letters=max_dead_letters, timeout_seconds=timeout
    )

    async def act(run: Run) -> ReplayReport:
        await run.execute(made.made_by)
        return await joined(made, run.journal, run.target.log)

    print_report(running(context, made, Journal(), limits, None, act, vouch=vouch), json=json)
    return None if json else say_what_letters_lack(made)


def letters_of(
    topic: list[str] | None,
    reason: list[str] | None,
    consumer: list[str] | None,
    tenant: list[str] | None,
    event_id: list[str] | None,
) -> Selection:
    return selection(
        topics=topic, reasons=reason, consumers=consumer, tenants=tenant, event_ids=event_id, dead_letters=True
    )
