"""Decides on consents: ``sano consent grant`` and ``revoke``.

Who it is about comes from standard input: what is on a command line stays in the shell's history.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.options import JsonOption, TenantOption
from producers.cli.output import counted, print_json
from producers.cli.proposing import proposing
from producers.cli.standard_input import given_text

if TYPE_CHECKING:
    from producers.sources.proposed import Proposed
    from producers.sources.proposing import Proposer
    from tenancy.tenant_id import TenantId

app = typer.Typer(help="Consent to training: grant, revoke.", no_args_is_help=True)


class Named(StrEnum):
    """How a line of standard input names a consent."""

    id = "id"
    hl7 = "hl7"
    fhir = "fhir"


AsOption = Annotated[
    Named,
    typer.Option("--as", help="What a line is: a consent's id, PID-3 of HL7 (4482913^^^MRN), or Patient/7 of FHIR."),
]
VersionOption = Annotated[
    int | None,
    typer.Option("--version", min=1, help="With --as id: above what the consent's publisher gave it last."),
]
JwkOption = Annotated[
    Path | None, typer.Option("--jwk", help="The tenant's public key; the bucket is not needed then.")
]


@app.command()
def grant(
    context: typer.Context,
    tenant: TenantOption,
    named: AsOption = Named.id,
    version: VersionOption = None,
    jwk: JwkOption = None,
    json: JsonOption = False,
) -> None:
    """Grant consent for whom standard input names, one a line.

    An earlier revocation ends. With --as hl7 and --as fhir the source's key (SANO_SOURCE_KEY_FILE) makes the ids, the
    same that the source proposes under, and the decision is as of now. Where the mapping of FHIR has Patient,
    what it proposes is decided by --as hl7.
    """
    _decide(context, tenant, named, version, jwk, json, is_granted=True)


@app.command()
def revoke(
    context: typer.Context,
    tenant: TenantOption,
    named: AsOption = Named.id,
    version: VersionOption = None,
    jwk: JwkOption = None,
    json: JsonOption = False,
) -> None:
    """Revoke consent for whom standard input names, one a line.

    What was approved under it is trained on no more, and the tenant's policy decides on adapters that were.
    """
    _decide(context, tenant, named, version, jwk, json, is_granted=False)


def _decide(
    context: typer.Context,
    tenant: TenantId,
    named: Named,
    version: int | None,
    jwk: Path | None,
    json: bool,
    *,
    is_granted: bool,
) -> None:
    from producers.sources.consents import ListedConsents
    from producers.sources.proposed import propose_whole
    from tenancy.errors import Refused

    if (named is Named.id) != (version is not None):
        why = "give the publisher's next version" if version is None else "it goes with --as id; others have the time's"
        raise typer.BadParameter(why, param_hint="--version")
    said = given_text("one a line", Refused("too-many-consents", "refused: that is too much at once; split it"))
    if not said.strip():
        raise Refused("no-consents", "refused: standard input names nobody; give one a line")

    async def act(proposer: Proposer) -> Proposed:
        now = int(proposer.clock().timestamp() * 1000)
        source = ListedConsents(said.splitlines(), named.value, is_granted, version or now, proposer.key, tenant)
        with counted("publishing") as progress:
            return await propose_whole(proposer, source, progress)

    count = len(proposing(context, tenant, jwk, act, makes_ids=named is not Named.id).consents)
    done = "granted" if is_granted else "revoked"
    if json:
        print_json({"tenant": tenant, f"consents_{done}": count})
    else:
        typer.echo(f"{count} consents {done}")
