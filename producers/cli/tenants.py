"""Lists and shows tenants, and issues their tokens: ``sano tenant …``."""

from __future__ import annotations

from json import dumps
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from producers.cli import terms
from producers.cli.options import JsonOption, TenantArgument
from producers.cli.output import Cell, print_facts, print_json, print_pages, short
from producers.cli.platform import platform, read


class TenantGroup(TyperGroup):
    """Makes the commands that take a policy's fields only when one is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return ["create", "list", "show", "policy", "terms", "token", "key", "identity"]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name == "key":
            from producers.cli import api_keys

            return typer.main.get_command(api_keys.app)
        if cmd_name == "identity":
            from producers.cli import identity_providers

            return typer.main.get_command(identity_providers.app)
        if cmd_name in ("create", "policy"):
            from producers.cli.policies import made_commands

            return made_commands()[cmd_name]
        return super().get_command(ctx, cmd_name)


app = typer.Typer(cls=TenantGroup, help="Tenants: their state, policy, terms and credentials.")
app.add_typer(terms.app, name="terms")


@app.command("list")
def list_(context: typer.Context, json: JsonOption = False) -> None:
    """Every tenant that was ever onboarded, purged ones too."""
    from producers.queries import tenants

    columns: dict[str, Cell] = {
        "tenant": lambda view: view.tenant,
        "status": lambda view: view.status,
        "active adapter": lambda view: short(view.active_adapter),
        "new examples": lambda view: view.new_examples,
    }
    empty = "no tenant is onboarded; `sano tenant create` makes one"
    read(context, lambda tenancy, _: print_pages(tenants.pages(tenancy), columns, empty=empty, json=json))


@app.command()
def show(context: typer.Context, tenant: TenantArgument, json: JsonOption = False) -> None:
    """One tenant: status, adapter, number of examples, policy."""
    from producers.cli.policy_options import policy_facts
    from producers.queries import tenants

    view = read(context, lambda tenancy, _: tenants.tenant(tenancy, tenant))
    if json:
        return print_json(view)
    facts = view.model_dump(exclude={"policy"}) | {
        "holds": tuple(f"{h.hold_id} ({h.reason_code}, {'released' if h.released_at else 'open'})" for h in view.holds),
        "public_key": view.public_key and dumps(view.public_key),
    }
    return print_facts(facts | {f"policy.{name}": value for name, value in policy_facts(view.policy).items()})


@app.command()
def token(
    context: typer.Context,
    tenant: TenantArgument,
    days: Annotated[int, typer.Option(min=1, max=365, help="How long it is valid.")] = 30,
) -> None:
    """Print a bearer token for the tenant's applications. Nothing else ever prints one."""
    from datetime import timedelta

    from schemas.evidence.purposes import Purpose
    from tenancy.bootstrap import signer
    from tenancy.tokens import TokenIssuer

    read(context, lambda tenancy, _: tenancy.active(tenant))
    issuer = TokenIssuer(signer(platform(context).settings(), Purpose.TOKEN))
    typer.echo(issuer.issue(tenant, timedelta(days=days)))
