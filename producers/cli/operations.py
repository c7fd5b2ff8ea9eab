"""Operates the installation: ``sano topics apply``, ``doctor``, ``demo``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from producers.cli.access_output import print_access
from producers.cli.options import JsonOption
from producers.cli.output import print_json, print_rows
from producers.cli.platform import platform

topics = typer.Typer(help="Topics of the contract on a cluster.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(topics, name="topics")
    app.command()(doctor)
    app.command()(demo)


@topics.command("apply")
def apply_(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    shorten: Annotated[bool, typer.Option("--shorten", help="Shorten retentions too: events are deleted.")] = False,
    json: JsonOption = False,
) -> None:
    """Create missing topics and rights, and align topics' configuration.

    Run it as a super user of the brokers: no service and no operator may change either.
    """
    from producers.operations.access_admin import apply_access
    from producers.operations.principals import principals
    from producers.operations.topics import apply_topics
    from schemas.bus.retention import kept

    settings = platform(context).settings()
    who = principals(settings)
    client = settings.kafka_client()
    topics = kept(settings.retention)
    reports = asyncio.run(apply_topics(client, topics, dry_run=dry_run, shorten=shorten))
    if not json:
        print_rows(
            reports,
            {
                "topic": lambda report: report.topic,
                "would be" if dry_run else "action": lambda report: report.action,
                "changes": lambda report: report.changes,
                "left as it is": lambda report: report.kept,
            },
        )
    access = asyncio.run(apply_access(client, who, dry_run=dry_run))
    if json:
        return print_json({"topics": reports, "access": access})
    return print_access(access, dry_run=dry_run)


def doctor(context: typer.Context, json: JsonOption = False) -> None:
    """Check that everything a command needs is there. Exit status 1 if something is not."""
    from producers.operations.doctor import diagnose

    checks = asyncio.run(diagnose(platform(context).settings))
    print_rows(
        checks,
        {
            "part": lambda check: check.part,
            "state": lambda check: "good" if check.ok else "BAD",
            "detail": lambda check: check.detail,
            "what to do": lambda check: check.remedy,
        },
        json=json,
    )
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def demo(
    report: Annotated[Path | None, typer.Option("--report", help="Write a report in JSON to this file.")] = None,
) -> None:
    """Run the whole loop on a stack of its own.

    Three tenants, two of which train an adapter, and a certified purge.
    """
    from producers.demo import run

    if report is not None and not (report.parent.is_dir() and not report.is_dir()):
        raise typer.BadParameter("give a file in a folder that is there", param_hint="--report")
    raise typer.Exit(run(report))
