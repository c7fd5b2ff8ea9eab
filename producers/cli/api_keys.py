"""Creates, lists and revokes API keys: ``sano tenant key …``."""

from __future__ import annotations

from typing import Annotated

import typer

from producers.cli.options import JsonOption, TenantOption, opaque_id
from producers.cli.output import Cell, print_done, print_json, print_rows
from producers.cli.platform import read

app = typer.Typer(help="API keys of a tenant: create, list, revoke.", add_completion=False, rich_markup_mode=None)


def scopes(values: list[str]) -> list[str]:
    """The callback of what names scopes."""
    from schemas.tenant.api_keys import SCOPES

    if wrong := [value for value in values if value not in SCOPES]:
        raise typer.BadParameter(f"{wrong[0]!r} is no scope; scopes are {', '.join(SCOPES)}")
    return values


# All three work on the object store alone: a key that leaked is revoked also while the bus is out of reach.


@app.command()
def create(
    context: typer.Context,
    tenant: TenantOption,
    name: Annotated[str, typer.Option(callback=opaque_id, help="The application that gets it; never a person.")],
    scope: Annotated[
        list[str], typer.Option(callback=scopes, help="chat, embeddings or knowledge; may be given several times.")
    ] = ["chat"],  # noqa: B006 - typer's way of a default
    days: Annotated[int, typer.Option(min=1, max=365, help="How long it is valid.")] = 90,
    json: JsonOption = False,
) -> None:
    """Create a key and print it, this once: only its hash is kept."""
    from datetime import timedelta

    from producers.commands import api_keys

    created = read(
        context,
        lambda tenancy, settings: api_keys.create(
            tenancy,
            tenant,
            name=name,
            scopes=scope,  # type: ignore[arg-type]
            lifetime=timedelta(days=days),
            created_by=settings.operator_id,
        ),
    )
    if json:
        print_json(created.view.model_dump(mode="json") | {"key": created.text})
    else:
        typer.echo(created.text)


@app.command("list")
def list_(context: typer.Context, tenant: TenantOption, json: JsonOption = False) -> None:
    """List the tenant's keys, without what would make them again."""
    from producers.commands import api_keys

    found = read(context, lambda tenancy, _: api_keys.keys(tenancy, tenant))
    columns: dict[str, Cell] = {
        "id": lambda key: key.key_id,
        "name": lambda key: key.name,
        "scopes": lambda key: ", ".join(key.scopes),
        "expires": lambda key: f"{key.expires_at:%Y-%m-%d %H:%M} UTC{' (expired)' if key.expired else ''}",
        "created by": lambda key: key.created_by,
    }
    print_rows(found, columns, empty="the tenant has no keys; `sano tenant key create` makes one", json=json)


@app.command()
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(callback=opaque_id, help="The key's id.")],
    tenant: TenantOption,
    json: JsonOption = False,
) -> None:
    """Revoke one key. Within seconds every replica refuses it."""
    from producers.commands import api_keys

    revoked = read(
        context,
        lambda tenancy, settings: api_keys.revoke(tenancy, tenant, key_id, revoked_by=settings.operator_id),
    )
    print_done(revoked, f"{revoked.key_id} ({revoked.name}) is revoked", json=json)
