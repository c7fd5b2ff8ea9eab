"""Keeps a tenant's own terms: ``sano tenant terms add``, ``list``, ``remove``.

Terms come from standard input: what is on a command line stays in the shell's history and is seen by every process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.options import TenantArgument
from producers.cli.platform import read
from producers.cli.review import is_terminal
from producers.cli.standard_input import given_text

if TYPE_CHECKING:
    from producers.commands.terms import TermsView
    from producers.settings import OperatorSettings
    from schemas.objects.terms import Term
    from tenancy.bootstrap import Tenancy

app = typer.Typer(help="The tenant's own terms: add, list, remove.", no_args_is_help=True)

AllowOption = Annotated[bool, typer.Option("--allow", help="These are no identifiers, whoever takes them for some.")]


@app.command()
def add(context: typer.Context, tenant: TenantArgument, allow: AllowOption = False) -> None:
    """Add terms from standard input, one a line.

    A line may begin with a kind and a tab: CLINICIAN, tab, the name. Everything in which one stands is redacted, and
    found when a training set is frozen.
    """
    from producers.commands.terms import add_terms

    given = given_terms()

    async def act(tenancy: Tenancy, settings: OperatorSettings) -> TermsView:
        return await add_terms(
            tenancy,
            tenant,
            () if allow else given,
            [term.text for term in given] if allow else (),
            changed_by=settings.operator_id,
            deadline_seconds=settings.handler_deadline_seconds,
        )

    _say(read(context, act))


@app.command("list")
def list_(context: typer.Context, tenant: TenantArgument) -> None:
    """Show the terms. On a terminal only: they are not for files and logs."""
    from producers.commands.terms import term_list
    from producers.queries.printable import printable
    from tenancy.errors import Refused

    if not is_terminal():
        raise Refused("not-a-terminal", "refused: a tenant's terms are shown on a terminal, and written nowhere")

    found = read(context, lambda tenancy, _: term_list(tenancy, tenant))
    for term in found.terms:
        typer.echo(f"{term.kind}\t{printable(term.text)}")
    for text in found.allowed:
        typer.echo(f"allowed\t{printable(text)}")


@app.command()
def remove(context: typer.Context, tenant: TenantArgument) -> None:
    """Remove terms in standard input, one a line."""
    from producers.commands.terms import remove_terms

    given = given_terms()

    async def act(tenancy: Tenancy, settings: OperatorSettings) -> TermsView:
        return await remove_terms(
            tenancy,
            tenant,
            [term.text for term in given],
            changed_by=settings.operator_id,
            deadline_seconds=settings.handler_deadline_seconds,
        )

    _say(read(context, act))


def given_terms() -> list[Term]:
    """What stands in standard input. Raises :class:`Refused`, and quotes no line."""
    from pydantic import ValidationError

    from schemas.base.redaction import IdentifierType
    from schemas.objects.terms import Term
    from tenancy.errors import Refused
    from tenancy.redaction.terms import is_telling

    too_long = Refused("too-many-terms", "refused: that is too much text for a list of terms")
    text = given_text("one term a line", too_long)
    terms = []
    for number, line in enumerate(text.splitlines(), 1):
        kind, tab, rest = line.strip().partition("\t")
        words = (rest if tab else kind).strip()
        if not words:
            continue
        if tab and kind not in IdentifierType.__members__:
            raise Refused("bad-term", f"refused: line {number}: before the tab stands no kind of identifier")
        try:
            term = Term(text=words, kind=IdentifierType(kind) if tab else IdentifierType.PERSON)
        except ValidationError:
            raise Refused("bad-term", f"refused: line {number}: a term has at most 200 characters") from None
        if not is_telling(term.text):
            raise Refused("bad-term", f"refused: line {number}: a term has two letters or digits")
        terms.append(term)
    if not terms:
        raise Refused("no-terms", "refused: there is no term in standard input; give one a line")
    return terms


def _say(view: TermsView) -> None:
    done = "changed" if view.changed else "as before"
    typer.echo(f"{done}: {view.terms} terms, {view.allowed} allowed")
