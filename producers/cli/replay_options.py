"""Defines the shared options of replays and dead letters, and the selection that they make."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.options import code, opaque_id, tenant_id

if TYPE_CHECKING:
    from producers.replay.selection import Selection


def checked_moment(value: str | None) -> str | None:
    if value is not None:
        try:
            is_good = datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            is_good = False
        if not is_good:
            raise typer.BadParameter("a time is like 2026-03-01T12:00:00Z, with its zone")
    return value


def checked_hash(value: str) -> str:
    if not 8 <= len(value) <= 64 or set(value) - set("0123456789abcdef"):
        raise typer.BadParameter("a plan's hash is 64 hex digits, or its first 8 or more")
    return value


def each(check: Callable[[str], str | None]) -> Callable[[list[str] | None], list[str | None] | None]:
    """The callback of an option that may be repeated."""

    def checked(values: list[str] | None) -> list[str | None] | None:
        return None if values is None else [check(value) for value in values]

    return checked


def _type(value: str) -> str:
    if re.fullmatch(r"(sano\.)?[a-z]+\.[a-z_]+", value) is None:
        raise typer.BadParameter("a type is like example.approved")
    return value


TopicsOption = Annotated[list[str] | None, typer.Option("--topic", help="Of this topic; may be repeated.")]
TenantsOption = Annotated[
    list[str] | None, typer.Option("--tenant", callback=each(tenant_id), help="Of this tenant; may be repeated.")
]
EventsOption = Annotated[
    list[str] | None, typer.Option("--event-id", callback=each(opaque_id), help="With this ce_id; may be repeated.")
]
TypesOption = Annotated[
    list[str] | None,
    typer.Option("--type", callback=each(_type), help="Of this type, such as example.approved; may be repeated."),
]
ReasonsOption = Annotated[
    list[str] | None,
    typer.Option("--reason", callback=each(code), help="Dead-lettered for this reason; may be repeated."),
]
ConsumersOption = Annotated[
    list[str] | None,
    typer.Option("--consumer", callback=each(opaque_id), help="Dead-lettered by this consumer; may be repeated."),
]
PlanArgument = Annotated[Path, typer.Argument(help="The plan's file.")]
ToOption = Annotated[
    Path | None,
    typer.Option("--to", help="Another installation to send to: a file with the fields of .sano/stack.json."),
]
ExecuteOption = Annotated[bool, typer.Option("--execute", help="Send. Without it, only say what would be sent.")]
VouchOption = Annotated[
    bool, typer.Option("--vouch", help="Sign in the operators' name what has no signature, or one of a revoked key.")
]
RateOption = Annotated[float, typer.Option("--rate", min=0.01, help="Messages a second at most.")]
CanaryOption = Annotated[
    int, typer.Option("--canary", min=0, help="After so many, wait for their outcomes before going on; 0: do not.")
]
MaxDeadLettersOption = Annotated[
    int, typer.Option("--max-dead-letters", min=0, help="Stop when more handlings than this end as dead letters.")
]
HandlingTimeoutOption = Annotated[
    float, typer.Option("--timeout", min=1.0, help="Seconds to wait for the consumers, and with --to for a training.")
]


def selection(**criteria: object) -> Selection:
    """Raises a usage error for criteria that no message can meet."""
    from pydantic import ValidationError

    from producers.replay.selection import Selection

    given = {name: value for name, value in criteria.items() if value is not None}
    given["types"] = [f"sano.{name.removeprefix('sano.')}" for name in _texts(given.get("types"))]
    try:
        return Selection.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise typer.BadParameter(first["msg"].removeprefix("Value error, ")) from None


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
