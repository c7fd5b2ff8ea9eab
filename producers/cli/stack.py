"""Starts, stops and shows the local stack of this folder: ``sano up``, ``down``, ``status``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.options import JsonOption
from producers.cli.output import bars, print_facts, print_json, waiting

if TYPE_CHECKING:
    from deploy.local.services import Service
    from deploy.local.stack import LocalStack, Report, Stage

PARTS_BESIDE_SERVICES = 3  # the base model, the bus, the object store


def add_to(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)
    app.command()(status)


def up(
    kafka: Annotated[bool, typer.Option("--kafka", help="Apache Kafka instead of the embedded bus.")] = False,
    review: Annotated[bool, typer.Option("--review", help="The review page too.")] = False,
) -> None:
    """Start the local stack and write .sano/stack.json. What SANO_* points at is used instead of being started."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    from deploy.local.services import REVIEW, SERVICES
    from deploy.local.stack import Stage

    services = (*SERVICES, REVIEW) if review else SERVICES
    with bars(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()) as progress:
        task = progress.add_task("starting", total=PARTS_BESIDE_SERVICES + len(services))
        starting: list[str] = []

        def report(name: str, stage: Stage) -> None:
            if stage is Stage.STARTING:
                starting.append(name)
            elif stage is Stage.READY:
                starting.remove(name)
                typer.echo(f"{name} is ready")
                progress.advance(task)
            progress.update(task, description=f"starting {', '.join(starting)}" if starting else "started")

        described = _stack(report, services).up(kafka=kafka)
    where = {"bus": described.kafka_bootstrap_servers, "inference": described.inference_url}
    print_facts(where | ({"review": described.review_url} if described.review_url is not None else {}))


def down() -> None:
    """Stop the local stack.

    Its data is removed; keys and logs stay in .sano.
    """
    with waiting("stopping") as say:
        stopped = _stack(lambda name, _: say(name)).down()
    typer.echo(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


def status(json: JsonOption = False) -> None:
    """What of the local stack runs. Exit status 1 unless all of it does."""
    found = _stack(lambda name, stage: None).status()
    is_whole = bool(found) and all(process.alive for process in found)
    if json:
        processes = [{"name": p.name, "pid": p.pid, "alive": p.alive, "log": str(p.log)} for p in found]
        print_json({"up": is_whole, "processes": processes})
    elif found:
        print_facts({p.name: f"{'runs' if p.alive else 'DEAD'}, pid {p.pid}, log {p.log}" for p in found})
    else:
        typer.echo("the local stack is not up; run `sano up`")
    if not is_whole:
        raise typer.Exit(1)


def _stack(report: Report, services: Sequence[Service] | None = None) -> LocalStack:
    from deploy.local.services import SERVICES
    from deploy.local.stack import LocalStack

    return LocalStack(
        Path.cwd(),
        apply_topics=topics_applied(),
        make_keys=keys_made,
        report=report,
        services=SERVICES if services is None else services,
    )


def keys_made(folder: Path) -> None:
    """The stack's hook: make the signing keys and their trust file, unless they are there."""
    from producers.operations.trust_admin import ensure_keys

    ensure_keys(folder)


def topics_applied() -> Callable[[str], None]:
    """The stack's hook: create the topics on the bus that it names, with the security that SANO_KAFKA_* says."""

    def apply(bootstrap_servers: str) -> None:
        import asyncio

        from producers.operations.topics import apply_topics
        from producers.settings import operator_settings
        from schemas.bus.retention import kept

        settings = operator_settings()
        client = {**settings.kafka_client(), "bootstrap_servers": bootstrap_servers}
        asyncio.run(apply_topics(client, kept(settings.retention), shorten=False))

    return apply
