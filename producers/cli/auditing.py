"""``sano lineage``, ``withdrawals``, ``usage``, ``verify``: what made an adapter, what left it, what was used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.options import DigestArgument, JsonOption, TenantOption
from producers.cli.output import duration, print_facts, print_json, print_rows, short, write_file
from producers.cli.platform import read

if TYPE_CHECKING:
    from producers.lineage import Lineage
    from producers.settings import OperatorSettings
    from producers.withdrawals import WithdrawalView
    from tenancy.bootstrap import Tenancy


def add_to(app: typer.Typer) -> None:
    for function in (lineage, withdrawals, usage, verify):
        app.command()(function)


def lineage(context: typer.Context, digest: DigestArgument, json: JsonOption = False) -> None:
    """From an adapter to its run and every example, with reviewer, consent and the events that allowed it."""
    from producers import queries
    from producers.lineage import lineage as traced
    from tenancy.bootstrap import verifier

    async def look(tenancy: Tenancy, settings: OperatorSettings) -> Lineage:
        tenant, whole = await queries.owner(tenancy, digest)
        return await traced(tenancy, tenant, whole, verifier(settings))

    found = read(context, look)
    if json:
        return print_json(found)
    print_facts(found.model_dump(exclude={"examples", "hyperparameters"}))
    typer.echo()
    return print_rows(
        found.examples,
        {
            "example": lambda row: row.example_id,
            "version": lambda row: row.version,
            "role": lambda row: row.role,
            "reviewer": lambda row: row.reviewer_id,
            "approval event": lambda row: row.approval_event_id,
            "consent": lambda row: row.consent_id,
            "consent event": lambda row: row.consent_event_id,
        },
        empty="no examples",
    )


def withdrawals(
    context: typer.Context,
    tenant: TenantOption,
    receipts: Annotated[
        Path | None, typer.Option("--receipts", help="Write every receipt into this folder.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Every withdrawal: the adapters that contain the example, and what became of them. Open ones first."""
    from producers import withdrawals as read_withdrawals
    from tenancy.tenant_id import TenantId

    name = TenantId(tenant)

    async def look(tenancy: Tenancy, _: OperatorSettings) -> list[WithdrawalView]:
        views = await read_withdrawals.withdrawals(tenancy, name)
        for view in views:
            if receipts is not None and view.step == "closed":
                signed = await read_withdrawals.withdrawal_receipt(tenancy, name, view.withdrawal_id)
                write_file(receipts / f"{view.withdrawal_id}.receipt.json", signed, "sano withdrawals --receipts DIR")
        return views

    views = read(context, look)
    if json:
        return print_json(views)
    return print_rows(
        views,
        {
            "withdrawal": lambda view: view.withdrawal_id,
            "of": lambda view: view.of,
            "at": lambda view: view.withdrawn_at,
            "step": lambda view: view.step,
            "outcome": lambda view: view.outcome,
            "adapters": lambda view: tuple(short(digest) for digest in view.affected),
            "replaced by": lambda view: short(view.replacement),
            "time left": lambda view: duration(view.remaining_seconds),
        },
        empty="nothing was withdrawn yet",
    )


def usage(context: typer.Context, tenant: TenantOption, json: JsonOption = False) -> None:
    """What the tenant used, summed by source."""
    from producers import queries
    from tenancy.tenant_id import TenantId

    views = read(context, lambda tenancy, _: queries.usage(tenancy, TenantId(tenant)))
    if json:
        return print_json(views)
    return print_rows(
        views,
        {
            "source": lambda view: view.source,
            "records": lambda view: view.records,
            "prompt tokens": lambda view: view.prompt_tokens,
            "completion tokens": lambda view: view.completion_tokens,
            "training tokens": lambda view: view.training_tokens,
            "engine seconds": lambda view: view.engine_seconds,
            "GPU seconds": lambda view: view.gpu_seconds,
            "bytes stored": lambda view: view.bytes_stored,
        },
        empty="no usage is recorded yet",
    )


def verify(
    file: Annotated[Path, typer.Argument(help="A certificate, manifest or receipt.", show_default=False)],
    key: Annotated[
        Path | None, typer.Option("--key", help="Public key, PEM; SANO_VERIFY_KEY_FILE if absent.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check a signed document offline, and say what it proves and what it does not."""
    from producers.settings import VerificationSettings
    from producers.verifying import verify_file
    from tenancy.errors import Refused
    from tenancy.signing import Verifier

    trusted = key or VerificationSettings().verify_key_file
    if trusted is None:
        raise Refused("no-verify-key", "refused: no public key is known; give --key, or set SANO_VERIFY_KEY_FILE")
    verdict = verify_file(file, Verifier.read(trusted))
    if json:
        return print_json(verdict)
    typer.echo(f"{verdict.kind}: the signature is good\n")
    print_facts(verdict.facts)
    typer.echo("\nIt proves:")
    typer.echo("\n".join(f"  - {line}" for line in verdict.proves))
    typer.echo("It does not prove:")
    return typer.echo("\n".join(f"  - {line}" for line in verdict.does_not_prove))
