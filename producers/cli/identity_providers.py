"""Sets, shows and removes a tenant's identity provider: ``sano tenant identity …``."""

from __future__ import annotations

from typing import Annotated

import typer

from producers.cli.api_keys import scopes
from producers.cli.options import JsonOption, TenantOption
from producers.cli.output import print_done, print_facts, print_json
from producers.cli.platform import read

app = typer.Typer(
    help="The tenant's own identity provider: set, show, remove.", add_completion=False, rich_markup_mode=None
)


def _claims(values: list[str]) -> list[str]:
    if wrong := [value for value in values if not all(value.partition("="))]:
        raise typer.BadParameter(f"{wrong[0]!r} is no NAME=VALUE")
    return values


@app.command("set")
def set_(
    context: typer.Context,
    tenant: TenantOption,
    issuer: Annotated[str, typer.Option(help="Its issuer, exactly as its tokens say it.")],
    audience: Annotated[str, typer.Option(help="The tokens' audience; it ends in sanolith: and the tenant's id.")],
    require: Annotated[
        list[str],
        typer.Option(callback=_claims, help="NAME=VALUE of a claim that tokens must have; may be given several times."),
    ] = [],  # noqa: B006 - typer's way of a default
    scope: Annotated[
        list[str], typer.Option(callback=scopes, help="What its tokens are good for; may be given several times.")
    ] = ["chat"],  # noqa: B006
    json: JsonOption = False,
) -> None:
    """Take tokens of this provider for the tenant, and of no other."""
    from producers.commands.identity_providers import set_provider

    made = read(
        context,
        lambda tenancy, settings: set_provider(
            tenancy,
            tenant,
            issuer=issuer,
            audience=audience,
            required_claims=dict(each.split("=", 1) for each in require),
            scopes=scope,  # type: ignore[arg-type]
            set_by=settings.operator_id,
        ),
    )
    print_done(made, f"tokens of {made.issuer} for {made.audience} are taken", json=json)


@app.command()
def show(context: typer.Context, tenant: TenantOption, json: JsonOption = False) -> None:
    """Whose tokens are taken for the tenant, and what they are good for."""
    from producers.commands.identity_providers import provider_of

    found = read(context, lambda tenancy, _: provider_of(tenancy, tenant))
    if json:
        print_json(found)
    else:
        claims = tuple(f"{name}={value}" for name, value in found.required_claims.items())
        print_facts(found.model_dump() | {"required_claims": claims})


@app.command()
def remove(context: typer.Context, tenant: TenantOption, json: JsonOption = False) -> None:
    """Take the installation's tokens and API keys only. Within seconds every replica refuses the provider's."""
    from producers.commands.identity_providers import remove_provider

    removed = read(
        context,
        lambda tenancy, settings: remove_provider(tenancy, tenant, removed_by=settings.operator_id),
    )
    print_done(removed, f"tokens of {removed.issuer} are no longer taken", json=json)
