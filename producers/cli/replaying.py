"""Replays messages of topics: ``sano replay plan|run|report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.errors import if_interrupted
from producers.cli.options import JsonOption, code
from producers.cli.output import counted, print_facts, print_json, waiting
from producers.cli.platform import platform
from producers.cli.replay_connection import fences, reading, running
from producers.cli.replay_options import (
    CanaryOption,
    EventsOption,
    ExecuteOption,
    HandlingTimeoutOption,
    MaxDeadLettersOption,
    PlanArgument,
    RateOption,
    TenantsOption,
    ToOption,
    TopicsOption,
    TypesOption,
    VouchOption,
    checked_hash,
    checked_moment,
    each,
    selection,
)
from producers.cli.replay_output import plan_facts, print_preview, print_report

if TYPE_CHECKING:
    from producers.replay.log import EventLog
    from producers.replay.plan import ReplayPlan
    from producers.replay.reporting import ReplayReport
    from producers.replay.running import Preview, Run
    from producers.settings import OperatorSettings
    from tenancy.bootstrap import Tenancy

replay = typer.Typer(help="Send again what topics hold: plan, run, report.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(replay, name="replay")


@replay.command("plan")
def plan_(
    context: typer.Context,
    topic: TopicsOption = None,
    tenant: TenantsOption = None,
    event_id: EventsOption = None,
    type_: TypesOption = None,
    since: Annotated[
        str | None, typer.Option("--from", callback=checked_moment, help="Appended then or later.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", callback=checked_moment, help="Appended before then.")] = None,
    dead_letter_reason: Annotated[
        list[str] | None,
        typer.Option("--dead-letter-reason", callback=each(code), help="Dead letters of this reason; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; named after the replay if absent.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Say what would be sent, and write it down with a hash. Nothing is sent, and nothing committed."""
    from producers.commands.requests import random_id
    from producers.replay.plan import write_plan
    from producers.replay.planning import Planner

    chosen = selection(
        topics=topic,
        tenants=tenant,
        event_ids=event_id,
        types=type_,
        since=since,
        until=until,
        dead_letters=bool(dead_letter_reason),
        reasons=dead_letter_reason,
    )
    replay_id = f"replay-{random_id()}"
    path = out or Path(f"{replay_id}.plan.json")

    async def act(tenancy: Tenancy, settings: OperatorSettings, log: EventLog) -> ReplayPlan:
        with counted("reading") as progress:
            made = await Planner(log, fences(tenancy)).plan(
                chosen,
                replay_id=replay_id,
                made_by=settings.operator_id,
                made_at=tenancy.clock(),
                seen=lambda count: progress("reading", count, count),
            )
        write_plan(path, made)
        return made

    made = reading(context, act)
    if json:
        return print_json({"file": str(path), "sha256": made.sha256(), "plan": made.model_dump(mode="json")})
    print_facts({**plan_facts(made), "hash": made.sha256(), "plan": path})
    return typer.echo(f"\nnothing is sent; to go on: sano replay run {path} {made.sha256()[:12]}")


@replay.command("run")
def run_(
    context: typer.Context,
    plan: PlanArgument,
    sha256: Annotated[
        str, typer.Argument(metavar="HASH", callback=checked_hash, help="The plan's hash, or its first 8 digits.")
    ],
    execute: ExecuteOption = False,
    to: ToOption = None,
    vouch: VouchOption = False,
    rate: RateOption = 50.0,
    canary: CanaryOption = 20,
    max_effects: Annotated[
        int | None,
        typer.Option(
            "--max-effects",
            min=0,
            help="Stop when more handlings than this have an effect. Absent: 0; with --to or dead letters no limit.",
        ),
    ] = None,
    max_dead_letters: MaxDeadLettersOption = 0,
    timeout: HandlingTimeoutOption = 300.0,
    json: JsonOption = False,
) -> None:
    """Send what was planned; a dry run without --execute. Run again, it goes on where it stopped."""
    from producers.replay.journal import journal, journal_path, read_journal
    from producers.replay.plan import read_plan, require_hash
    from producers.replay.reporting import report as joined
    from producers.replay.running import Limits

    made = read_plan(plan)
    require_hash(made, sha256)
    has_effects = to is not None or made.selection.dead_letters
    limits = Limits(
        rate=rate,
        canary=canary,
        max_effects=max_effects if max_effects is not None or has_effects else 0,
        max_dead_letters=max_dead_letters,
        timeout_seconds=timeout,
    )
    path = journal_path(plan)
    if not execute:

        async def look(run: Run) -> Preview:
            return await run.preview()

        preview = running(context, made, read_journal(path, made.sha256()), limits, to, look)
        return print_preview(preview, json=json)

    async def act(run: Run) -> ReplayReport:
        settings = platform(context).settings()
        with if_interrupted("the same command goes on where it stopped"):
            await run.execute(settings.operator_id)
        return await joined(made, run.journal, run.target.log)

    with journal(path, made.sha256()) as held:
        done = running(context, made, held, limits, to, act, vouch=vouch)
    return print_report(done, json=json)


@replay.command("report")
def report_(context: typer.Context, plan: PlanArgument, to: ToOption = None, json: JsonOption = False) -> None:
    """Report what came of a run, by consumer.

    Effects, no-ops, refusals and dead letters, and which.
    """
    from producers.replay.journal import journal_path, read_journal
    from producers.replay.plan import read_plan
    from producers.replay.reporting import report as joined
    from producers.settings import installation_settings

    made = read_plan(plan)
    held = read_journal(journal_path(plan), made.sha256())

    async def act(tenancy: Tenancy, settings: OperatorSettings, log: EventLog) -> ReplayReport:
        with waiting("outcomes") as report:
            report("reading")
            return await joined(made, held, log)

    done = reading(context, act, installation_settings(to) if to else None)
    return print_report(done, json=json)
