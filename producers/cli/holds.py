"""Places and releases legal holds, which keep a tenant's data even past its deletion SLA: ``sano hold …``."""

from __future__ import annotations

from typing import Annotated

import typer

from producers.cli.options import JsonOption, TenantOption, code, opaque_id
from producers.cli.output import print_done, short
from producers.cli.platform import read

app = typer.Typer(help="Legal holds: place, release.")


HoldArgument = Annotated[str, typer.Argument(callback=opaque_id, help="The hold's id.")]


# Both work on the object store alone: a hold must not have to wait for the bus.


@app.command()
def place(
    context: typer.Context,
    tenant: TenantOption,
    reason: Annotated[str, typer.Option("--reason", callback=code, help="A code, such as litigation.")],
    hold: Annotated[
        str | None, typer.Option("--id", callback=opaque_id, help="An opaque id; a random one if absent.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Stop every destruction of data that is not decided yet.

    The deletion SLA runs on.
    """
    from producers.commands import legal_holds

    placed = read(
        context,
        lambda tenancy, settings: legal_holds.place(
            tenancy, tenant, reason_code=reason, placed_by=settings.operator_id, hold_id=hold
        ),
    )
    sentence = f"{placed.hold_id} is placed on {tenant}; nothing of it is destroyed until it is released"
    if placed.too_late_for:
        digests = ", ".join(short(digest) or "" for digest in placed.too_late_for)
        sentence += f"\nit came too late for the weights of {digests}: their erasure was decided before"
    if placed.texts_being_erased:
        sentence += f"\nit came too late for texts of {placed.texts_being_erased} examples, which were being erased"
    print_done(placed, sentence, json=json)


@app.command()
def release(context: typer.Context, hold: HoldArgument, tenant: TenantOption, json: JsonOption = False) -> None:
    """Release one hold. A purge that waited for it goes on."""
    from producers.commands import legal_holds

    released = read(
        context,
        lambda tenancy, settings: legal_holds.release(tenancy, tenant, hold, released_by=settings.operator_id),
    )
    print_done(released, f"{released.hold_id} is released", json=json)
