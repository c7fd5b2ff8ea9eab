"""Trains and switches adapters: ``sano train``, ``runs``, ``adapters``, ``activate``, ``promote``, ``rollback``,
``canary``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

import typer

from producers.cli.errors import if_interrupted
from producers.cli.options import (
    JsonOption,
    OptionalDigestArgument,
    TenantOption,
    TimeoutOption,
    WaitOption,
)
from producers.cli.output import print_json, print_rows, short, waiting
from producers.cli.platform import command, read

if TYPE_CHECKING:
    from producers.commands.requests import ActiveAdapter
    from producers.settings import OperatorSettings
    from schemas.objects.state import RunState
    from schemas.objects.training import LeftOutExample
    from tenancy.bootstrap import Tenancy
    from tenancy.tenant_id import TenantId

View = TypeVar("View")


def add_to(app: typer.Typer) -> None:
    for function in (train, runs, adapters, activate, promote, rollback, canary):
        app.command()(function)


def train(
    context: typer.Context,
    tenant: TenantOption,
    wait: WaitOption = False,
    timeout: TimeoutOption = 3600.0,
    json: JsonOption = False,
) -> None:
    """Train an adapter from what is eligible now. With --wait, exit status 1 if the run fails or is rejected."""
    from producers.commands.requests import request_training
    from producers.queries.history import left_out
    from producers.queries.waiting import run_ended
    from tenancy.errors import Refused

    async def act(
        tenancy: Tenancy, settings: OperatorSettings
    ) -> tuple[str, RunState | None, tuple[LeftOutExample, ...]]:
        run_id = await request_training(tenancy, tenant, requested_by=settings.operator_id)
        if not wait:
            return run_id, None, ()
        goes_on = if_interrupted(f"{run_id} goes on; `sano runs --tenant {tenant}` shows how")
        with goes_on, waiting(f"training {run_id}") as report:
            run = await run_ended(tenancy, tenant, run_id, timeout_seconds=timeout, report=report)
        return run_id, run, (await left_out(tenancy, tenant, {run_id: run}))[run_id]

    run_id, run, without = command(context, act)
    if json:
        how = {"status": "requested"} if run is None else {**run.model_dump(mode="json"), "left_out": without}
        print_json({"run_id": run_id, **how})
    elif run is None:
        typer.echo(f"{run_id} is requested; `sano runs --tenant {tenant}` shows how it goes")
    elif run.status == "completed":
        typer.echo(f"{run_id} is completed: adapter {run.adapter_digest}")
    if without and not json:
        typer.echo(f"left out: {_by_code(without)}; `sano runs --tenant {tenant} --json` names them")
    if run is not None and run.status != "completed":
        what = _MORE if run.reason_code == "too-few-examples" else "docs/operations.md says under Training what to do"
        raise Refused("run-not-completed", f"{run_id} is {run.status}: {run.reason_code}; {what}")


_MORE = "approve more and see that consent is granted, or lower --min-training-examples by `sano tenant policy set`"
_GONE = "the tenant is purged or being purged, and has none any more; `sano purges` shows how far it is"


def _of_tenant(
    look: Callable[[Tenancy, TenantId], Awaitable[list[View]]], tenant: TenantId
) -> Callable[[Tenancy, OperatorSettings], Awaitable[tuple[list[View], bool]]]:
    """A look at what a tenant has, and at whether it is one that may have something."""

    async def both(tenancy: Tenancy, _: OperatorSettings) -> tuple[list[View], bool]:
        views = await look(tenancy, tenant)
        return views, (await tenancy.states.read(tenant)).state.status == "active"

    return both


def _by_code(left_out: Sequence[LeftOutExample]) -> str | None:
    """How many examples were left out, and why."""
    counts = Counter(example.code for example in left_out)
    return ", ".join(f"{count} {code}" for code, count in sorted(counts.items())) or None


def runs(context: typer.Context, tenant: TenantOption, json: JsonOption = False) -> None:
    """List the tenant's training runs, oldest first.

    With how many examples each left out; --json names these.
    """
    from producers.queries import adapters

    views, is_active = read(context, _of_tenant(adapters.runs, tenant))
    print_rows(
        views,
        {
            "run": lambda view: view.run_id,
            "status": lambda view: view.status,
            "reason": lambda view: view.reason_code,
            "attempts": lambda view: view.attempts,
            "adapter": lambda view: short(view.adapter_digest),
            "left out": lambda view: _by_code(view.left_out),
            "requested": lambda view: view.requested_at,
            "tokens": lambda view: view.trained_tokens,
            "seconds": lambda view: view.train_seconds,
        },
        empty="no training was requested yet; `sano train` requests one" if is_active else _GONE,
        json=json,
    )


def adapters(context: typer.Context, tenant: TenantOption, json: JsonOption = False) -> None:
    """The tenant's published adapters, oldest first."""
    from producers.queries import ratings

    views, is_active = read(context, _of_tenant(ratings.rated_adapters, tenant))
    print_rows(
        views,
        {
            "digest": lambda view: short(view.digest),
            "active": lambda view: view.active,
            "status": lambda view: view.status,
            "rolled back": lambda view: view.rolled_back,
            "run": lambda view: view.run_id,
            "bytes": lambda view: view.size_bytes,
            "published": lambda view: view.published_at,
            "rated up": lambda view: view.rated_up,
            "rated down": lambda view: view.rated_down,
        },
        empty="no adapter is published yet; `sano train` makes one" if is_active else _GONE,
        json=json,
    )


def activate(
    context: typer.Context,
    tenant: TenantOption,
    digest: OptionalDigestArgument = None,
    canary: Annotated[
        str | None, typer.Option("--canary", help="Only so many in a hundred conversations, such as 10%.")
    ] = None,
) -> None:
    """Make an adapter the one that answers.

    With --canary only a share of the conversations; the active one answers the others. Without
    a digest it is the newest that no rollback left.
    """
    from producers.commands import requests

    share = None if canary is None else _percent(canary)
    _change_active(context, tenant, digest, partial(requests.activate, canary_percent=share))


def _percent(text: str) -> int:
    number = text.removesuffix("%")
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= 99:
        raise typer.BadParameter("a canary answers from 1% to 99% of the conversations", param_hint="--canary")
    return int(number)


def promote(context: typer.Context, tenant: TenantOption, digest: OptionalDigestArgument = None) -> None:
    """Make the canary the active adapter."""
    from producers.commands import requests

    _change_active(context, tenant, digest, requests.promote)


def rollback(context: typer.Context, tenant: TenantOption, digest: OptionalDigestArgument = None) -> None:
    """End the canary, or return to an earlier adapter.

    To this one, or to the one before the present one. Without a digest each call goes one further back.
    """
    from producers.commands import requests

    _change_active(context, tenant, digest, requests.rollback)


def canary(context: typer.Context, tenant: TenantOption, json: JsonOption = False) -> None:
    """Compare the canary with the active adapter.

    How many answers each gave, how many of them were bad, and what follows from that by the policy.
    """
    from producers.queries import canaries

    view = read(context, lambda tenancy, _: canaries.canary(tenancy, tenant))
    if json:
        return print_json(view)
    if view.ended is not None:
        past = "promoted" if view.ended.decision == "promote" else "rolled back"
        typer.echo(f"{short(view.ended.adapter_digest)} was {past} at {view.ended.at:%F %T} ({view.ended.reason_code})")
    if view.canary is None:
        return typer.echo("there is no canary; `sano activate --canary` begins one")
    print_rows(
        view.sides,
        {
            "side": lambda side: side.side,
            "adapter": lambda side: short(side.adapter),
            "answers": lambda side: side.answers.answers,
            "failed": lambda side: side.answers.errors,
            "refused": lambda side: side.answers.refusals,
            "rated bad": lambda side: side.answers.rated_down,
            "seconds": lambda side: round(side.answers.seconds, 1),
        },
    )
    who = "the policy decides" if view.decided_by == "metrics" else "an operator decides"
    share, found = f"{view.canary.percent} in 100 conversations", f"{view.decision} ({view.reason_code})"
    return typer.echo(f"{share}; {who}; by the numbers: {found}")


class _Change(Protocol):
    async def __call__(
        self, tenancy: Tenancy, tenant: TenantId, digest: str | None = None, *, requested_by: str | None = None
    ) -> ActiveAdapter: ...


def _change_active(context: typer.Context, tenant: TenantId, digest: str | None, change: _Change) -> None:
    from producers.queries.adapters import whole_digest

    async def act(tenancy: Tenancy, settings: OperatorSettings) -> ActiveAdapter:
        whole = None if digest is None else await whole_digest(tenancy, tenant, digest)
        return await change(tenancy, tenant, whole, requested_by=settings.operator_id)

    _say(command(context, act))


def _say(now: ActiveAdapter) -> None:
    from schemas.bus.outcome import Outcome

    already = "" if now.outcome is Outcome.EFFECT else " already; nothing changed"
    typer.echo(f"{now.digest or 'the base model'} is active{already}")
    if now.canary is not None:
        typer.echo(f"{now.canary.adapter_digest} answers {now.canary.percent} in 100 conversations{already}")
