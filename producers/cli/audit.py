"""Verifies, shows and exports each tenant's tamper-evident log: ``sano audit verify|show|export``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from producers.cli.keys import RootOption, TrustFileOption, trusted
from producers.cli.options import AdapterOption, JsonOption, OptionalTenantOption, TenantOption
from producers.cli.output import counted, print_facts, print_json, print_rows, short
from producers.cli.platform import read

if TYPE_CHECKING:
    from producers.queries.audit_log import Entry, UsedExample, Withdrawal
    from producers.settings import OperatorSettings
    from tenancy.audit.copy import AuditCopy
    from tenancy.audit.verification import AuditVerdict
    from tenancy.bootstrap import Tenancy
    from tenancy.tenant_id import TenantId

app = typer.Typer(help="The tamper-evident audit log of each tenant.")


@app.command()
def verify(
    context: typer.Context,
    tenant: OptionalTenantOption = None,
    copy: Annotated[
        Path | None, typer.Option("--copy", help="Check a file by `sano audit export` instead, offline.")
    ] = None,
    key: Annotated[list[Path] | None, typer.Option("--key", help="Public key, PEM; once for each that signed.")] = None,
    trust_file: TrustFileOption = None,
    root: RootOption = None,
    expect_checkpoint: Annotated[
        Path | None, typer.Option("--expect-checkpoint", help="A checkpoint, certificate or copy that must be in it.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check every entry, link and signature of a log.

    Says what that proves and what it does not. Exit status 1 if broken.
    """
    from producers.settings import VerificationSettings
    from tenancy.audit.copy import load_copy
    from tenancy.audit.verification import verify_copy
    from tenancy.audit.witness import read_held
    from tenancy.errors import Refused
    from tenancy.platform.settings import loaded

    if expect_checkpoint is not None and tenant is None and copy is None:
        raise typer.BadParameter("a checkpoint is of one tenant; give --tenant too", param_hint="--expect-checkpoint")
    verifiers, settings = trusted(key, trust_file, root), loaded(VerificationSettings)
    held = read_held(expect_checkpoint) if expect_checkpoint else []
    copies = [load_copy(copy)] if copy else read(context, lambda tenancy, _: _copies(tenancy, tenant))
    if copy is not None and tenant not in (None, copies[0].tenant):
        raise Refused("other-tenant", f"refused: {copy} is a copy of another tenant's log")
    verdicts = [verify_copy(held_copy, verifiers, held, settings.audit_checkpoint_seconds) for held_copy in copies]
    if json:
        print_json(verdicts)
    else:
        _print_verdicts(verdicts)
    broken = [verdict.tenant for verdict in verdicts if verdict.verdict == "BROKEN"]
    if broken:
        raise Refused("audit-broken", f"refused: the audit log of {', '.join(broken)} does not hold, as said above")
    unsigned = [verdict.tenant for verdict in verdicts if verdict.verdict == "UNSIGNED"]
    if unsigned:
        raise Refused("audit-unsigned", f"refused: the audit log of {', '.join(unsigned)} is not signed, as said above")


def _print_verdicts(verdicts: list[AuditVerdict]) -> None:
    if not verdicts:
        return typer.echo("no tenant is onboarded, so there is no log")
    for verdict in verdicts:
        print_facts(
            {
                "tenant": verdict.tenant,
                "entries": f"{verdict.entries}, of which {verdict.signed_entries} are signed",
                "doubted": f"{verdict.doubted_entries}; see sano audit show --kind event"
                if verdict.doubted_entries
                else "none",
                "checkpoints": verdict.checkpoints,
                "last checkpoint": short(verdict.last_checkpoint.sha256 if verdict.last_checkpoint else None),
                "signed by": tuple(
                    f"{short(key.key_id)}, from checkpoint {key.first_checkpoint} through {key.last_checkpoint}"
                    for key in verdict.signed_by
                ),
                "verdict": verdict.verdict,
            }
        )
        typer.echo("".join(f"  - {problem}\n" for problem in verdict.problems))
    if not any(verdict.problems for verdict in verdicts):
        typer.echo("It proves:")
        of_each = [line for line in verdicts[0].proves if all(line in verdict.proves for verdict in verdicts)]
        typer.echo("\n".join(f"  - {line}" for line in of_each))
    typer.echo("It does not prove:")
    return typer.echo("\n".join(f"  - {line}" for line in verdicts[0].does_not_prove))


async def _copies(tenancy: Tenancy, tenant: TenantId | None) -> list[AuditCopy]:
    from producers.queries.audit_copy import read_copy

    if tenant is not None:
        await tenancy.states.read(tenant)
    wanted = [tenant] if tenant else [name async for name in tenancy.states.tenants()]
    with counted("reading") as progress:
        return [await read_copy(tenancy, name, progress=progress) for name in wanted]


@app.command()
def export(
    context: typer.Context,
    tenant: TenantOption,
    to: Annotated[Path, typer.Option("--to", help="The file to write.")],
    json: JsonOption = False,
) -> None:
    """Write a copy of the log to a file. Whoever keeps it is a witness: the log cannot be cut back behind it unseen."""
    from tenancy.audit.copy import write_copy

    copied = read(context, lambda tenancy, _: _copies(tenancy, tenant))[0]
    write_copy(copied, to)
    if json:
        return print_json({"tenant": tenant, "entries": len(copied.entries), "checkpoints": len(copied.checkpoints)})
    return typer.echo(f"{len(copied.entries)} entries and {len(copied.checkpoints)} checkpoints are in {to}")


@app.command()
def show(
    context: typer.Context,
    tenant: TenantOption,
    adapter: AdapterOption = None,
    person: Annotated[str | None, typer.Option("--person", help="What one reviewer or operator did.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="A kind, as purge.fenced, or all of purge.")] = None,
    since: Annotated[datetime | None, typer.Option("--since", help="A day or a time, in UTC.")] = None,
    withdrawn: Annotated[
        bool, typer.Option("--withdrawn", help="Withdrawals, and the adapters that contain what was withdrawn.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """What was decided and done: by whom, when, on what. Names are shown while the tenant's key lives."""
    from producers.queries import audit_log
    from producers.queries.audit_copy import read_copy
    from tenancy.bootstrap import trust

    moment = since if since is None or since.tzinfo is not None else since.replace(tzinfo=UTC)

    async def look(
        tenancy: Tenancy, settings: OperatorSettings
    ) -> tuple[list[Entry], list[UsedExample], list[Withdrawal]]:
        await tenancy.states.read(tenant)
        with counted("reading") as progress:
            entries = audit_log.entries_of(await read_copy(tenancy, tenant, progress=progress))
        known = await audit_log.pseudonyms(tenancy, tenant)
        used: list[UsedExample] = []
        ended: list[Withdrawal] = []
        chosen = entries
        if adapter is not None:
            digest, chosen = audit_log.of_adapter(entries, adapter)
            used = await audit_log.examples_of(tenancy, tenant, digest, entries, trust(settings), known)
        if withdrawn:
            found = await audit_log.withdrawals(tenancy, tenant, entries, trust(settings), known)
            ended = [one for one in found if adapter is None or digest in one.adapters]
            places = {one.seq for one in ended}
            chosen = [entry for entry in entries if entry.seq in places]
        actors = None if person is None else audit_log.person(person, known)
        chosen = audit_log.selected(chosen, kind=kind, since=moment, actors=actors)
        left = {entry.seq for entry in chosen}
        ended = [one for one in ended if one.seq in left]
        resolved = await audit_log.names(tenancy, tenant, known)
        return [audit_log.shown(entry, resolved) for entry in chosen], used, ended

    entries, used, ended = read(context, look)
    if json:
        return print_json(
            {
                "tenant": tenant,
                "entries": [entry.model_dump(mode="json") for entry in entries],
                "examples": [example.model_dump(mode="json") for example in used],
                "withdrawals": [found.model_dump(mode="json") for found in ended],
            }
        )
    if withdrawn:
        return _print_withdrawals(ended)
    _print_entries(entries)
    if adapter is not None:
        typer.echo()
        _print_examples(used)
    return None


def _print_entries(entries: list[Entry]) -> None:
    def facts(entry: Any) -> str:
        return " ".join(
            f"{name}={short(value) if isinstance(value, str) and len(value) == 64 else value}"
            for name, value in entry.facts.items()
        )

    print_rows(
        entries,
        {
            "entry": lambda entry: entry.seq,
            "time": lambda entry: entry.time,
            "kind": lambda entry: entry.kind,
            "by": lambda entry: f"{entry.role} {entry.who}",
            "tenant was": lambda entry: entry.recorded_while,
            "what": facts,
        },
        empty="the log has no such entry",
    )


def _print_examples(used: list[UsedExample]) -> None:
    print_rows(
        used,
        {
            "example": lambda row: row.example_id,
            "version": lambda row: row.version,
            "role": lambda row: row.role,
            "approved by": lambda row: row.reviewer_id,
            "entry": lambda row: row.approval_entry,
            "consent": lambda row: row.consent_id,
            "consent's entry": lambda row: row.consent_entry,
            "withdrawn in entry": lambda row: row.withdrawn_entry,
        },
        empty="the examples cannot be told any more: the tenant's key is destroyed",
    )


def _print_withdrawals(ended: list[Withdrawal]) -> None:
    print_rows(
        ended,
        {
            "entry": lambda row: row.seq,
            "time": lambda row: row.time,
            "kind": lambda row: row.kind,
            "what": lambda row: row.name,
            "adapters that contain it": lambda row: tuple(short(digest) for digest in row.adapters),
            "one is active": lambda row: row.active,
        },
        empty="nothing was withdrawn",
    )
