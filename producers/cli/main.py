"""Assembles the ``sano`` command."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from producers.cli import (
    audit,
    chat,
    consents,
    cost,
    dead_letters,
    evidence,
    holds,
    importing,
    knowledge,
    offboarding,
    operations,
    redaction,
    replaying,
    review,
    stack,
    tenants,
    training,
    trust,
)
from producers.cli.errors import SanoGroup
from schemas.version import VERSION

app = typer.Typer(
    name="sano",
    cls=SanoGroup,
    help="Private LoRA adapters, one per tenant: train, serve, trace, export, purge.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for commands in (
    stack,
    redaction,
    importing,
    training,
    chat,
    evidence,
    cost,
    offboarding,
    replaying,
    dead_letters,
    operations,
):
    commands.add_to(app)
app.add_typer(tenants.app, name="tenant")
app.add_typer(consents.app, name="consent")
app.add_typer(holds.app, name="hold")
app.add_typer(offboarding.subcontractors, name="subcontractor")
app.add_typer(audit.app, name="audit")
app.add_typer(review.app, name="review")
app.add_typer(knowledge.app, name="knowledge")
app.add_typer(trust.app, name="keys")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sano {VERSION}")
        raise typer.Exit


@app.callback()
def sano(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Private LoRA adapters, one per tenant: train, serve, trace, export, purge."""


def main() -> None:
    """Entry point of the distribution."""
    # aiokafka logs each failed connection as an error; the command says it once, in its own words.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    app(prog_name="sano")


if __name__ == "__main__":
    main()
