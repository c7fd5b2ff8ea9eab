"""Exports adapters and purges tenants: ``sano export``, ``churn``, ``purge``, ``purges``, ``subcontractor``."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.errors import if_interrupted
from producers.cli.options import JsonOption, TenantOption, TimeoutOption, WaitOption, code, opaque_id
from producers.cli.output import (
    Cell,
    duration,
    print_done,
    print_json,
    print_pages,
    waiting,
    write_documents,
    write_file,
)
from producers.cli.platform import command, read

if TYPE_CHECKING:
    from producers.commands.exporting import Exported
    from producers.queries.purges import PurgeView
    from producers.settings import OperatorSettings
    from schemas.objects.purges import PurgeRecord
    from tenancy.bootstrap import Tenancy
    from tenancy.tenant_id import TenantId

    Ask = Callable[[Tenancy, TenantId, str], Awaitable[None]]

CertificateOption = Annotated[
    Path | None, typer.Option("--certificate", help="Wait, and write the certificate to this file.")
]


subcontractors = typer.Typer(help="Subcontractors: confirm.")


def add_to(app: typer.Typer) -> None:
    for function in (export, churn, purge, purges):
        app.command()(function)


def export(
    context: typer.Context,
    tenant: TenantOption,
    to: Annotated[Path, typer.Option("--to", help="A new or an empty folder.")],
    timeout: TimeoutOption = 300.0,
    json: JsonOption = False,
) -> None:
    """Take the active adapter away as a folder that peft loads.

    With its manifest and list of examples.
    """
    from producers.commands.exporting import export_adapter
    from tenancy.bootstrap import trust

    async def act(tenancy: Tenancy, settings: OperatorSettings) -> Exported:
        with waiting("exporting") as report:
            return await export_adapter(
                tenancy,
                tenant,
                to,
                trust(settings),
                requested_by=settings.operator_id,
                timeout_seconds=timeout,
                report=report,
            )

    exported = command(context, act)
    print_done(
        exported, f"adapter {exported.adapter_digest}, made of {exported.examples} examples, is in {to}", json=json
    )


def _asking(name: str, said: str, ask: Ask) -> Callable[..., None]:
    """A command that asks for a purge by ``ask``."""

    def run(
        context: typer.Context,
        tenant: TenantOption,
        wait: WaitOption = False,
        timeout: TimeoutOption = 900.0,
        certificate: CertificateOption = None,
        json: JsonOption = False,
    ) -> None:
        from producers.queries import purges
        from producers.queries.waiting import purge_certified

        async def act(tenancy: Tenancy, settings: OperatorSettings) -> tuple[PurgeRecord | str, bytes | None]:
            before = await purges.purge_of(tenancy, tenant)
            await ask(tenancy, tenant, settings.operator_id)
            if not wait and certificate is None:
                return before, None
            goes_on = if_interrupted("the purge goes on; `sano purges` shows how far it is")
            with goes_on, waiting(f"purging {tenant}") as report:
                record = await purge_certified(tenancy, tenant, timeout_seconds=timeout, report=report)
            return record, await purges.certificate(tenancy, tenant, record.purge_id)

        record, signed = command(context, act)
        if isinstance(record, str) or signed is None:
            return _say_asked(tenant, record, json)
        if certificate is not None:
            write_file(certificate, signed, "sano purges --certificates DIR")
        removed = f"{record.objects_removed} objects in {record.versions_removed} versions"
        return print_done(record, f"{tenant} is purged: {removed}, {record.purge_id}", json=json)

    run.__name__, run.__doc__ = name, said
    return run


def _say_asked(tenant: str, before: PurgeRecord | str, json: bool) -> None:
    """What a command that does not wait leaves behind it: a request, or the purge that was there before it."""
    step = before if isinstance(before, str) else before.step
    if json:
        return print_json({"tenant": tenant, "step": step})
    if step == "requested":
        return typer.echo(f"the purge of {tenant} is requested; `sano purges` shows how far it is")
    if step == "certified":
        return typer.echo(f"{tenant} is purged already; `sano purges --certificates DIR` writes the certificate")
    return typer.echo(f"the purge of {tenant} is under way already ({step}); `sano purges` shows how far it is")


async def _churn(tenancy: Tenancy, tenant: TenantId, requested_by: str) -> None:
    from producers.commands import requests

    await requests.churn(tenancy, tenant, requested_by=requested_by)


async def _request_purge(tenancy: Tenancy, tenant: TenantId, requested_by: str) -> None:
    from producers.commands import requests

    await requests.request_purge(tenancy, tenant, requested_by=requested_by)


churn = _asking("churn", "The contract ended: everything of the tenant is purged. There is no way back.", _churn)
purge = _asking("purge", "Purge everything of the tenant, whatever its contract. There is no way back.", _request_purge)


def purges(
    context: typer.Context,
    certificates: Annotated[
        Path | None, typer.Option("--certificates", help="Write every certificate into this folder.")
    ] = None,
    is_open: Annotated[bool, typer.Option("--open", help="Only those that are not certified.")] = False,
    json: JsonOption = False,
) -> None:
    """Every purge, the one whose deletion SLA ends first on top."""
    from producers.queries import purges
    from tenancy.errors import Refused

    unreadable: list[str] = []

    async def found(tenancy: Tenancy) -> AsyncIterator[list[PurgeView]]:
        async for page in purges.pages(tenancy, only_open=is_open):
            unreadable.extend(page.unreadable)
            yield page.views

    async def look(tenancy: Tenancy, _: OperatorSettings) -> None:
        await print_pages(found(tenancy), PURGE_COLUMNS, empty="no purge was ever requested", json=json)
        if certificates is not None:
            await _write_certificates(tenancy, certificates)

    read(context, look)
    if unreadable:
        # The others are shown: whoever looks may have one of them to save from being late.
        why = f"refused: {', '.join(unreadable)} cannot be read; a newer release may have written it"
        raise Refused("unreadable-purge", why)


async def _write_certificates(tenancy: Tenancy, folder: Path) -> None:
    from producers.queries import purges

    views = (await purges.purges(tenancy)).views
    certified = {name: view for name, view in named(views).items() if view.step == "certified"}

    async def signed(name: str) -> bytes:
        return await purges.certificate(tenancy, certified[name].tenant, certified[name].purge_id)

    await write_documents(folder, "certificate", certified, signed, "sano purges --certificates DIR")


def named(views: list[PurgeView]) -> dict[str, PurgeView]:
    """Each purge by what its certificate's file is named after: its id and, where that is another tenant's too, the
    tenant's before it. Neither holds a dot, so that no two have one name.
    """
    used = Counter(view.purge_id for view in views)
    return {view.purge_id if used[view.purge_id] == 1 else f"{view.tenant}.{view.purge_id}": view for view in views}


PURGE_COLUMNS: dict[str, Cell] = {
    "purge": lambda view: view.purge_id,
    "tenant": lambda view: view.tenant,
    "step": lambda view: view.step,
    "flags": lambda view: view.flags,
    "SLA left": lambda view: duration(view.remaining_seconds),
    "deadline": lambda view: view.deadline,
    "waits for": lambda view: view.waits_for,
    "objects": lambda view: view.objects_removed,
    "versions": lambda view: view.versions_removed,
}


@subcontractors.command()
def confirm(
    context: typer.Context,
    subcontractor: Annotated[str, typer.Argument(callback=code, help="As it is declared.")],
    tenant: TenantOption,
    reference: Annotated[str, typer.Option("--reference", callback=opaque_id, help="An opaque id of its document.")],
    json: JsonOption = False,
) -> None:
    """Record that a subcontractor confirmed the destruction.

    For the certificate of the purge that is under way.
    """
    from producers.commands.subcontractors import confirm as record

    noted = read(
        context,
        lambda tenancy, settings: record(
            tenancy, tenant, subcontractor, reference=reference, recorded_by=settings.operator_id
        ),
    )
    print_done(noted, f"{subcontractor} has confirmed, by {noted.reference}; the certificate will say so", json=json)
