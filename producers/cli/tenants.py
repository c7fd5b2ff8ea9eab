"""``sano tenant …``: who is there, and how they get in."""

from __future__ import annotations

from json import dumps
from typing import Annotated, Literal

import typer

from producers.cli.options import JsonOption, NewTenantArgument, TenantArgument, opaque_id
from producers.cli.output import print_facts, print_json, print_rows, short
from producers.cli.platform import command, platform, read

app = typer.Typer(help="Tenants: create, list, show, token.", rich_markup_mode=None)


@app.command()
def create(
    context: typer.Context,
    tenant: NewTenantArgument = None,
    min_new_examples: Annotated[
        int | None, typer.Option(min=1, max=1000, help="New examples that start a training.", show_default="64")
    ] = None,
    min_training_examples: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="A smaller training set is refused.", show_default="8")
    ] = None,
    activation: Annotated[
        Literal["automatic", "manual"] | None,
        typer.Option(help="Who makes a new adapter active.", show_default="automatic"),
    ] = None,
    require_consent: Annotated[
        bool, typer.Option("--require-consent/--no-require-consent", help="Train only on consented examples.")
    ] = True,
    automatic_training: Annotated[
        bool, typer.Option("--automatic-training/--no-automatic-training", help="Train when enough is new.")
    ] = True,
    deletion_sla_days: Annotated[
        int | None, typer.Option(min=8, max=365, help="Days from a purge's request to its end.", show_default="30")
    ] = None,
    right_of_export: Annotated[
        bool, typer.Option("--right-of-export/--no-right-of-export", help="A purge first hands the adapter over.")
    ] = False,
    export_wait_days: Annotated[
        int | None, typer.Option(min=1, max=364, help="Days a purge waits for that.", show_default="7")
    ] = None,
    on_withdrawal: Annotated[
        Literal["flag", "retrain", "stop"] | None,
        typer.Option(help="What becomes of adapters that contain a withdrawn example.", show_default="retrain"),
    ] = None,
    retrain_within_days: Annotated[
        int | None, typer.Option(min=1, max=365, help="They are retired by then.", show_default="30")
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(min=16, max=8192, help="Tokens of an example; longer ones are left out.", show_default="512"),
    ] = None,
    baa_reference: Annotated[
        str | None,
        typer.Option(callback=opaque_id, help="The contract, by an opaque id that the certificate of purge repeats."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Onboard a tenant: state, data key, key pair. Again with the same policy is no change."""
    from producers.commands.onboarding import onboard
    from schemas.tenant.policy import TenantPolicy
    from tenancy.tenant_id import TenantId

    given = {
        "min_new_examples": min_new_examples,
        "min_training_examples": min_training_examples,
        "activation": activation,
        "require_consent": require_consent,
        "automatic_training": automatic_training,
        "deletion_sla_days": deletion_sla_days,
        "right_of_export": right_of_export,
        "export_wait_days": export_wait_days,
        "on_withdrawal": on_withdrawal,
        "retrain_within_days": retrain_within_days,
        "baa_reference": baa_reference,
        "hyperparameters": None if max_length is None else {"max_length": max_length},
    }
    policy = TenantPolicy.model_validate({name: value for name, value in given.items() if value is not None})
    if not policy.keeps_its_promise:
        raise typer.BadParameter("--export-wait-days must be less than --deletion-sla-days")
    name = TenantId(tenant) if tenant else TenantId.random()
    onboarded = command(
        context, lambda tenancy, settings: onboard(tenancy, name, policy, requested_by=settings.operator_id)
    )
    if json:
        print_json(onboarded)
    else:
        typer.echo(f"{name} {'is onboarded' if onboarded.created else 'was onboarded already'}")


@app.command("list")
def list_(context: typer.Context, json: JsonOption = False) -> None:
    """Every tenant that was ever onboarded, purged ones too."""
    from producers.queries import tenants

    views = read(context, lambda tenancy, _: tenants.tenants(tenancy))
    if json:
        return print_json(views)
    return print_rows(
        views,
        {
            "tenant": lambda view: view.tenant,
            "status": lambda view: view.status,
            "active adapter": lambda view: short(view.active_adapter),
            "new examples": lambda view: view.new_examples,
        },
        empty="no tenant is onboarded; `sano tenant create` makes one",
    )


@app.command()
def show(context: typer.Context, tenant: TenantArgument, json: JsonOption = False) -> None:
    """One tenant: status, adapter, number of examples, policy."""
    from producers.queries import tenants
    from tenancy.tenant_id import TenantId

    view = read(context, lambda tenancy, _: tenants.tenant(tenancy, TenantId(tenant)))
    if json:
        return print_json(view)
    policy = view.policy.model_dump(exclude={"hyperparameters"})
    policy["max_length"] = view.policy.hyperparameters.max_length
    facts = view.model_dump(exclude={"policy"}) | {
        "holds": tuple(f"{h.hold_id} ({h.reason_code}, {'released' if h.released_at else 'open'})" for h in view.holds),
        "public_key": view.public_key and dumps(view.public_key),
    }
    return print_facts(facts | {f"policy.{name}": value for name, value in policy.items()})


@app.command()
def token(
    context: typer.Context,
    tenant: TenantArgument,
    days: Annotated[int, typer.Option(min=1, max=365, help="How long it is valid.")] = 30,
) -> None:
    """Print a bearer token for the tenant's applications. Nothing else ever prints one."""
    from datetime import timedelta

    from tenancy.bootstrap import signer
    from tenancy.tenant_id import TenantId
    from tenancy.tokens import TokenIssuer

    name = TenantId(tenant)
    read(context, lambda tenancy, _: tenancy.active(name))
    issuer = TokenIssuer(signer(platform(context).settings()))
    typer.echo(issuer.issue(name, timedelta(days=days)))
