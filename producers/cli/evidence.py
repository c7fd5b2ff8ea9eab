"""Shows what was done and what proves it: ``sano lineage``, ``reproduce``, ``withdrawals``, ``usage``, ``verify``,
``countersign``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.keys import KeyOption, RootOption, SignerKeyOption, TrustFileOption, trusted
from producers.cli.options import DigestArgument, JsonOption, TenantOption
from producers.cli.output import (
    Cell,
    counted,
    duration,
    print_facts,
    print_json,
    print_rows,
    short,
    write_documents,
    write_file,
)
from producers.cli.platform import read

if TYPE_CHECKING:
    from producers.queries.lineage import Lineage
    from producers.queries.withdrawals import Withdrawals, WithdrawalView
    from producers.settings import OperatorSettings
    from schemas.evidence.reproduction import Reproduction
    from tenancy.bootstrap import Tenancy


def add_to(app: typer.Typer) -> None:
    for function in (lineage, reproduce, withdrawals, usage, verify, countersign):
        app.command()(function)


def lineage(context: typer.Context, digest: DigestArgument, json: JsonOption = False) -> None:
    """Trace an adapter back to its run and every example.

    With reviewer, consent and the events that allowed each, and the examples that were left out.
    """
    from producers.queries import adapters
    from producers.queries.lineage import lineage as traced
    from tenancy.bootstrap import trust

    async def look(tenancy: Tenancy, settings: OperatorSettings) -> Lineage:
        tenant, whole = await adapters.owner(tenancy, digest)
        return await traced(tenancy, tenant, whole, trust(settings))

    found = read(context, look)
    if json:
        return print_json(found)
    print_facts(found.model_dump(exclude={"examples", "left_out", "ineligible", "hyperparameters"}))
    typer.echo()
    print_rows(
        found.examples,
        {
            "example": lambda row: row.example_id,
            "version": lambda row: row.version,
            "role": lambda row: row.role,
            "reviewer": lambda row: row.reviewer_id,
            "approval event": lambda row: row.approval_event_id,
            "consent": lambda row: row.consent_id,
            "consent event": lambda row: row.consent_event_id,
            "reviewed elsewhere, states": lambda row: row.stated_by,
            "gate": lambda row: f"{row.gate.gate} {row.gate.version}: {row.gate.verdict}",
        },
        empty="no examples",
    )
    if out := (*found.left_out, *found.ineligible):
        typer.echo()
        print_rows(
            out,
            {
                "left out": lambda row: row.example_id,
                "version": lambda row: row.version,
                "because": lambda row: row.code,
            },
        )
    return None


def reproduce(context: typer.Context, digest: DigestArgument, json: JsonOption = False) -> None:
    """Train an adapter again and compare the bytes.

    On this machine, from its signed manifest and exactly its examples; nothing is kept. Exit status 1 where weights or
    configuration differ.
    """
    from producers.operations.reproducing import reproduced
    from producers.queries import adapters
    from tenancy.errors import Refused

    async def look(tenancy: Tenancy, settings: OperatorSettings) -> Reproduction:
        tenant, whole = await adapters.owner(tenancy, digest)
        with counted("training again") as report:
            return await reproduced(settings, tenant, whole, partial(report, "training again"))

    found = read(context, look)
    if json:
        print_json(found)
    else:
        print_facts(found.model_dump(exclude={"differences"}))
        if found.differences:
            typer.echo()
            columns: dict[str, Cell] = {"differs": lambda row: row.what, "then": lambda row: row.then}
            print_rows(found.differences, {**columns, "now": lambda row: row.now})
    if not found.is_same:
        what = "libraries or processor are others" if found.differences else "docs/operations.md says what to look at"
        raise Refused("not-the-same", f"refused: the second training gave other bytes; {what}")


def withdrawals(
    context: typer.Context,
    tenant: TenantOption,
    receipts: Annotated[Path | None, typer.Option("--receipts", help="Write every receipt into this folder.")] = None,
    json: JsonOption = False,
) -> None:
    """List withdrawals and what became of the adapters.

    Those that contain the example, the open withdrawals first.
    """
    from producers.queries import withdrawals as read_withdrawals
    from tenancy.errors import Refused

    async def look(tenancy: Tenancy, _: OperatorSettings) -> Withdrawals:
        found = await read_withdrawals.withdrawals(tenancy, tenant)
        if receipts is not None:
            closed = [view.withdrawal_id for view in found.views if view.step == "closed"]
            signed = partial(read_withdrawals.withdrawal_receipt, tenancy, tenant)
            await write_documents(receipts, "receipt", closed, signed, "sano withdrawals --receipts DIR")
        return found

    found = read(context, look)
    _print_withdrawals(found.views, json=json)
    if found.unreadable:
        which = ", ".join(found.unreadable)
        why = f"refused: withdrawal {which} cannot be read; docs/operations.md says how to mend that"
        raise Refused("unreadable-withdrawal", why)


def _print_withdrawals(views: list[WithdrawalView], *, json: bool) -> None:
    print_rows(
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
        json=json,
    )


def usage(context: typer.Context, tenant: TenantOption, json: JsonOption = False) -> None:
    """What the tenant used, summed by source."""
    from producers.queries import usage

    views = read(context, lambda tenancy, _: usage.usage(tenancy, tenant))
    print_rows(
        views,
        {
            "source": lambda view: view.source,
            "records": lambda view: view.records,
            "prompt tokens": lambda view: view.prompt_tokens,
            "cached": lambda view: view.cached_tokens,
            "completion tokens": lambda view: view.completion_tokens,
            "training tokens": lambda view: view.training_tokens,
            "embedding tokens": lambda view: view.embedding_tokens,
            "retrievals": lambda view: view.retrievals,
            "engine seconds": lambda view: view.engine_seconds,
            "gpu seconds": lambda view: view.gpu_seconds,
            "queue seconds": lambda view: view.queue_seconds,
            "GiB-days": lambda view: f"{sum(view.byte_days.values()) / 2**30:.3f}",
            "bytes written": lambda view: view.bytes_written,
        },
        empty="no usage is recorded yet",
        json=json,
    )


def verify(
    file: Annotated[Path, typer.Argument(help="A certificate, manifest or receipt.")],
    key: KeyOption = None,
    trust_file: TrustFileOption = None,
    root: RootOption = None,
    verifier_key: Annotated[
        Path | None, typer.Option("--verifier-key", help="Public key of who countersigned it, PEM.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check a signed document offline.

    Says what it proves and what it does not.
    """
    from tenancy.evidence.given_keys import read_public_key
    from tenancy.evidence.verification import verify_file

    second = None if verifier_key is None else read_public_key(verifier_key, "--verifier-key")
    verdict = verify_file(file, trusted([key] if key else None, trust_file, root), second)
    if json:
        return print_json(verdict)
    typer.echo(f"{verdict.kind}: the signature is good\n")
    print_facts(verdict.facts)
    typer.echo("\nIt proves:")
    typer.echo("\n".join(f"  - {line}" for line in verdict.proves))
    typer.echo("It does not prove:")
    return typer.echo("\n".join(f"  - {line}" for line in verdict.does_not_prove))


def countersign(
    file: Annotated[Path, typer.Argument(help="A certificate of purge.")],
    key: Annotated[Path, typer.Option("--key", help="The verifier's own private key, PEM.")],
    signer_key: SignerKeyOption = None,
    trust_file: TrustFileOption = None,
    root: RootOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; FILE's name with .countersigned.json if absent.")
    ] = None,
) -> None:
    """Check a certificate offline, then sign it too.

    As a verifier in a role of its own.
    """
    from tenancy.evidence.countersigning import countersigned
    from tenancy.evidence.keys import LocalKey

    given = trusted([signer_key] if signer_key else None, trust_file, root, "--signer-key")
    signed = countersigned(file, given, LocalKey.read(key, "--key"))
    written = out or file.with_suffix(".countersigned.json")
    write_file(written, signed, "sano countersign")
    typer.echo(f"{written} holds both signatures; `sano verify` checks yours by --verifier-key")
