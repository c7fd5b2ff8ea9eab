"""Creates tenants and changes policies: ``sano tenant create`` and ``sano tenant policy …``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from producers.cli.options import JsonOption, NewTenantArgument, TenantArgument
from producers.cli.output import print_done, print_facts, print_json
from producers.cli.platform import command, read
from producers.cli.policy_options import policy_facts, policy_options
from producers.commands.onboarding import Onboarded, onboard
from producers.commands.policies import PolicyView, policy_of, require_database, set_policy
from producers.settings import OperatorSettings
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.state.policy_changes import policy_with, require_consistent
from tenancy.tenant_id import TenantId

UnsetOption = Annotated[
    list[str] | None, typer.Option("--unset", help="Take back a field that may be absent; once for each field.")
]
FileOption = Annotated[Path | None, typer.Option("--file", help="Take fields from this YAML file; options win.")]


def _changes(file: Path | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the file, then those of the options. Values are checked against a policy: a usage error."""
    read_from = {} if file is None else _fields_of(file)
    nested = read_from.get("hyperparameters")
    if isinstance(nested, dict):
        read_from = {**{name: value for name, value in read_from.items() if name != "hyperparameters"}, **nested}
    changes = {**read_from, **given}
    with _as_usage():
        policy_with(TenantPolicy(), changes)
    return changes


@contextmanager
def _as_usage() -> Iterator[None]:
    try:
        yield
    except Refused as refusal:
        raise typer.BadParameter(str(refusal).removeprefix("refused: ")) from None


def _fields_of(file: Path) -> dict[str, Any]:
    import yaml

    try:
        fields = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise typer.BadParameter(f"{file} is not YAML") from None
    if not isinstance(fields, dict) or not all(isinstance(name, str) for name in fields):
        raise typer.BadParameter(f"{file} holds no mapping of fields to values")
    return fields


def create(
    context: typer.Context,
    given: dict[str, Any],
    tenant: NewTenantArgument = None,
    file: FileOption = None,
    json: JsonOption = False,
) -> None:
    """Onboard a tenant: state, data key, key pair. Again with the same policy is no change."""
    policy = policy_with(TenantPolicy(), _changes(file, given))
    with _as_usage():
        require_consistent(policy)
    name = tenant or TenantId.random()

    async def onboarding(tenancy: Tenancy, settings: OperatorSettings) -> Onboarded:
        require_database(policy.model_dump(), settings)
        return await onboard(tenancy, name, policy, requested_by=settings.operator_id)

    onboarded = command(context, onboarding)
    print_done(onboarded, f"{name} {'is onboarded' if onboarded.created else 'was onboarded already'}", json=json)


def show(context: typer.Context, tenant: TenantArgument, json: JsonOption = False) -> None:
    """The policy in force, and its version."""
    _print(read(context, lambda tenancy, _: policy_of(tenancy, tenant)), json=json)


def set_(
    context: typer.Context,
    given: dict[str, Any],
    tenant: TenantArgument,
    file: FileOption = None,
    unset: UnsetOption = None,
    json: JsonOption = False,
) -> None:
    """Change these fields, for every decision from now on."""
    absent = dict.fromkeys((name.replace("-", "_") for name in unset or ()), None)
    if both := sorted(absent.keys() & given.keys()):
        raise typer.BadParameter(f"{both[0]} is given too", param_hint="--unset")
    changes = _changes(file, {**given, **absent})
    if not changes:
        raise typer.BadParameter("nothing to change; give a field, such as --learning-rate, or --file")

    async def setting(tenancy: Tenancy, settings: OperatorSettings) -> PolicyView:
        require_database(changes, settings)
        return await set_policy(tenancy, tenant, changes, requested_by=settings.operator_id)

    view = command(context, setting)
    print_done(view, f"version {view.version} {'is in force' if view.changed else 'was in force already'}", json=json)


def _print(view: PolicyView, *, json: bool) -> None:
    if json:
        return print_json(view)
    return print_facts({"tenant": view.tenant, "version": view.version} | policy_facts(view.policy))


def made_commands() -> dict[str, Any]:
    """The commands by name, made anew."""
    app = typer.Typer(rich_markup_mode=None)
    policy = typer.Typer(help="The tenant's policy: show, set.")
    app.command("create")(policy_options(create, show_defaults=True))
    policy.command("show")(show)
    policy.command("set")(policy_options(set_, show_defaults=False))
    app.add_typer(policy, name="policy")
    return dict(get_command(app).commands)  # type: ignore[attr-defined]
