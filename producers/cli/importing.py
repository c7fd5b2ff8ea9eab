"""Imports examples, from approvals, raw files, FHIR and HL7 v2: ``sano import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from producers.cli.errors import if_interrupted
from producers.cli.options import JsonOption, TenantOption, TimeoutOption, WaitOption
from producers.cli.output import counted, print_json
from producers.cli.platform import command
from producers.cli.proposing import proposing

if TYPE_CHECKING:
    from producers.settings import OperatorSettings
    from producers.sources.importing import Imported
    from producers.sources.proposed import Proposed
    from producers.sources.proposing import Proposer
    from tenancy.bootstrap import Tenancy
    from tenancy.tenant_id import TenantId

T = TypeVar("T")

RawOption = Annotated[bool, typer.Option("--raw", help="Redact the file and propose it for review.")]
JwkOption = Annotated[
    Path | None,
    typer.Option("--jwk", help="With --raw, --fhir and --hl7: the tenant's public key; the bucket is not needed then."),
]
FhirOption = Annotated[
    bool, typer.Option("--fhir", help="Redact Bundles, NDJSON or a $export folder and propose what they hold.")
]
Hl7Option = Annotated[
    bool, typer.Option("--hl7", help="Redact batch files of HL7 v2 messages and propose what they hold.")
]
QuestionCodeOption = Annotated[
    str | None, typer.Option("--question-code", help="With --hl7: OBX-3 of a question; QUESTION if absent.")
]
AnswerCodeOption = Annotated[
    str | None, typer.Option("--answer-code", help="With --hl7: OBX-3 of an answer; ANSWER if absent.")
]
MappingOption = Annotated[
    Path | None, typer.Option("--mapping", help="With --fhir: which element is what, a YAML file.")
]


def add_to(app: typer.Typer) -> None:
    app.command("import")(import_)


def import_(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="JSON Lines: messages, reviewer, consent.")],
    tenant: TenantOption,
    raw: RawOption = False,
    fhir: FhirOption = False,
    mapping: MappingOption = None,
    hl7: Hl7Option = False,
    question_code: QuestionCodeOption = None,
    answer_code: AnswerCodeOption = None,
    jwk: JwkOption = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = 600.0,
    json: JsonOption = False,
) -> None:
    """Publish a file of approvals, or propose raw ones.

    All of it or none, redacted here. Approvals were reviewed elsewhere: you state that, and are named for it. With
    --raw, --fhir or --hl7 the files wait for reviewers. With --wait, return when curation has decided on each approval.

    With --fhir and --hl7 what cannot be read is reported and the others go on; the exit status is 1 then.
    """
    if raw + fhir + hl7 > 1:
        raise typer.BadParameter("give one of --raw, --fhir and --hl7", param_hint="--raw")
    proposes = raw or fhir or hl7
    for option, is_idle, remedy in (
        ("--mapping", mapping is not None and not fhir, "it goes with --fhir"),
        ("--question-code", question_code is not None and not hl7, "it goes with --hl7"),
        ("--answer-code", answer_code is not None and not hl7, "it goes with --hl7"),
        ("--jwk", jwk is not None and not proposes, "it goes with --raw, --fhir and --hl7"),
        ("--wait", wait and proposes, "it goes with approvals; what is proposed waits for reviewers"),
    ):
        if is_idle:
            raise typer.BadParameter(remedy, param_hint=option)
    if fhir:
        return _propose_fhir(context, files, tenant, mapping, jwk, json)
    if hl7:
        return _propose_hl7(context, files, tenant, (question_code or "QUESTION", answer_code or "ANSWER"), jwk, json)
    if len(files) != 1:
        raise typer.BadParameter("give one file; only --fhir and --hl7 take several", param_hint="FILES")
    [file] = files
    if raw:
        return _propose(context, file, tenant, jwk, json)
    from producers.queries.waiting import examples_curated
    from producers.sources.importing import import_approvals
    from tenancy.redaction.at_first_use import AtFirstUse
    from tenancy.redaction.standard import standard_gate

    async def act(tenancy: Tenancy, settings: OperatorSettings) -> Imported:
        with counted("reading") as progress:
            imported = await import_approvals(
                file,
                tenant,
                tenancy,
                AtFirstUse(standard_gate),
                progress=progress,
                deadline_seconds=settings.handler_deadline_seconds,
                stated_by=settings.operator_id,
            )
            if wait:
                with if_interrupted("all is published, and curation goes on"):
                    await examples_curated(tenancy, tenant, imported, timeout_seconds=timeout, progress=progress)
        return imported

    imported = command(context, act)
    counts = {status: imported.count(status) for status in ("new", "known", "already_decided")}
    if json:
        found = {"consents": len(imported.consents), "redacted": imported.redacted}
        print_json({"tenant": tenant, "examples": len(imported.examples), **counts, **found})
    else:
        typer.echo(
            f"{len(imported.examples)} examples: {counts['new']} new, {counts['known']} known, "
            f"{counts['already_decided']} withdrawn or decided otherwise since; {len(imported.consents)} consents; "
            f"{imported.redacted} identifiers redacted"
        )
    return None


def _propose(context: typer.Context, file: Path, tenant: TenantId, jwk: Path | None, json: bool) -> None:
    from producers.sources.proposed import propose_whole
    from producers.sources.raw_file import RawFile

    async def act(proposer: Proposer) -> Proposed:
        with counted("redacting") as progress:
            return await propose_whole(proposer, RawFile(file), progress)

    made = proposing(context, tenant, jwk, act)
    if json:
        found = {"proposed": len(made.proposals), "consents": len(made.consents), "redacted": made.redacted}
        return print_json({"tenant": tenant, **found})
    return typer.echo(
        f"{len(made.proposals)} examples proposed, {made.redacted} identifiers redacted; "
        f"`sano review list --tenant {tenant}` shows what waits"
    )


def _propose_fhir(
    context: typer.Context, files: list[Path], tenant: TenantId, mapping: Path | None, jwk: Path | None, json: bool
) -> None:
    from producers.sources.fhir.importing import FhirFiles
    from producers.sources.fhir.mapping import read_mapping
    from producers.sources.proposed import propose

    said = read_mapping(mapping)

    async def act(proposer: Proposer) -> Proposed:
        with counted("redacting") as progress:
            source = FhirFiles(files, said, proposer.key, proposer.tenant, proposer.clock())
            return await propose(proposer, source, progress)

    _say(proposing(context, tenant, jwk, act), tenant, json)


def _propose_hl7(
    context: typer.Context, files: list[Path], tenant: TenantId, codes: tuple[str, str], jwk: Path | None, json: bool
) -> None:
    from producers.sources.mllp.conversations import Codes
    from producers.sources.mllp.taking import BatchFiles
    from producers.sources.proposed import propose

    async def act(proposer: Proposer) -> Proposed:
        with counted("redacting") as progress:
            source = BatchFiles(files, Codes(*codes), proposer.key, proposer.tenant)
            return await propose(proposer, source, progress)

    _say(proposing(context, tenant, jwk, act), tenant, json)


def _say(made: Proposed, tenant: str, json: bool) -> None:
    """A line for each refusal, the counts, and exit status 1 where there is a refusal."""
    for refusal in made.refused:
        typer.echo(f"error: {refusal}", err=True)
    found = {
        "proposed": len(made.proposals),
        "consents_granted": made.granted,
        "consents_revoked": len(made.consents) - made.granted,
        "withdrawn": len(made.withdrawals),
        "redacted": made.redacted,
        "passed_over": made.passed_over,
        "refused": len(made.refused),
    }
    if json:
        print_json({"tenant": tenant, **found})
    else:
        typer.echo(
            f"{found['proposed']} examples proposed, {found['redacted']} identifiers redacted; "
            f"{found['consents_granted']} consents granted, {found['consents_revoked']} revoked; "
            f"{found['withdrawn']} withdrawn, {found['passed_over']} passed over, {found['refused']} refused"
        )
    if made.refused:
        raise typer.Exit(1)
