"""Reviews proposed examples from a terminal, and makes links to the review page: ``sano review …``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.options import JsonOption, TenantOption, code, opaque_id
from producers.cli.output import print_facts, print_rows
from producers.cli.platform import command, platform, read

if TYPE_CHECKING:
    from producers.queries.proposals import ProposalView
    from producers.settings import OperatorSettings
    from schemas.bus.events import Verdict
    from tenancy.bootstrap import Tenancy
    from tenancy.tenant_id import TenantId

app = typer.Typer(help="Review proposed examples.", no_args_is_help=True)

ExampleArgument = Annotated[str, typer.Argument(callback=opaque_id, help="The example's id.")]
VersionOption = Annotated[int, typer.Option("--version", min=1, help="The version that was looked at.")]
ReviewerOption = Annotated[str, typer.Option("--reviewer", callback=opaque_id, help="The reviewer's opaque id.")]


def _role(value: str) -> str:
    from producers.review_page.people import ROLES

    if value not in ROLES:
        raise typer.BadParameter(f"a role is {' or '.join(ROLES)}")
    return value


ReasonOption = Annotated[str, typer.Option("--reason", callback=code, help="A code, such as wrong-answer.")]


@app.command("list")
def list_(context: typer.Context, tenant: TenantOption, json: JsonOption = False) -> None:
    """List what waits for reviewers, the oldest first. No text is shown."""
    from producers.queries.proposals import open_proposals

    views = read(context, lambda tenancy, _: open_proposals(tenancy, tenant))
    print_rows(
        views,
        {
            "example": lambda view: view.example_id,
            "version": lambda view: view.version,
            "source": lambda view: view.source,
            "proposed": lambda view: view.proposed_at,
            "redacted": lambda view: sum(span.count for span in view.redacted),
            "approved": lambda view: f"{view.approvals} of {view.reviewers_required}",
            "rejected": lambda view: view.rejections,
        },
        empty="nothing waits for reviewers",
        json=json,
    )


@app.command()
def show(context: typer.Context, example: ExampleArgument, tenant: TenantOption) -> None:
    """Show a proposed example with its text. On a terminal only: the text is not for files and logs."""
    from producers.queries.printable import printable
    from producers.queries.proposals import proposed_text
    from tenancy.errors import Refused

    if not is_terminal():
        raise Refused("not-a-terminal", "refused: the text of an example is shown on a terminal, and written nowhere")

    found = read(context, lambda tenancy, _: proposed_text(tenancy, tenant, example))
    proposal = found.proposal
    print_facts(
        {
            "example": proposal.example_id,
            "version": proposal.version,
            "source": proposal.source,
            "author": proposal.author_id,
            "consent": proposal.consent_id,
            "found" if proposal.source == "freeze" else "redacted": tuple(
                f"{span.count} {span.kind}" for span in proposal.redacted
            ),
            "gate": f"{proposal.gate} {proposal.gate_version}",
            "approved": f"{proposal.approvals} of {proposal.reviewers_required}",
            "rejected": proposal.rejections,
        }
    )
    for message in found.messages:
        typer.echo(f"\n{message.role}:\n{printable(message.content)}")


@app.command()
def approve(
    context: typer.Context,
    example: ExampleArgument,
    tenant: TenantOption,
    version: VersionOption,
    reviewer: ReviewerOption,
) -> None:
    """Approve the version that you looked at."""
    _review(context, example, tenant, version, reviewer, "approved")


@app.command()
def reject(
    context: typer.Context,
    example: ExampleArgument,
    tenant: TenantOption,
    version: VersionOption,
    reviewer: ReviewerOption,
    reason: ReasonOption,
) -> None:
    """Reject the version that you looked at, with a code."""
    _review(context, example, tenant, version, reviewer, "rejected", reason)


@app.command()
def link(
    context: typer.Context,
    tenant: TenantOption,
    role: Annotated[str, typer.Option("--role", callback=_role, help="reviewer or compliance.")] = "reviewer",
    reviewer: Annotated[
        str | None, typer.Option("--reviewer", callback=opaque_id, help="An opaque id; a random one if absent.")
    ] = None,
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=60, help="How long it is valid.")] = 15,
) -> None:
    """Print a one-time link to the review page.

    It signs one person in, for trying the page out.
    """
    from datetime import timedelta
    from secrets import token_hex

    from producers.review_page.links import one_time_link
    from producers.review_page.people import role_of
    from schemas.evidence.purposes import Purpose
    from tenancy.bootstrap import signer
    from tenancy.errors import Refused

    read(context, lambda tenancy, _: tenancy.states.read(tenant))
    settings = platform(context).settings()
    if settings.review_url is None:
        raise Refused(
            "no-review-page", "refused: no review page is known; run `sano up --review`, or set SANO_REVIEW_URL"
        )
    person, lifetime = reviewer or f"rev-{token_hex(6)}", timedelta(minutes=minutes)
    signs = signer(settings, Purpose.TOKEN)
    typer.echo(one_time_link(signs, settings.review_url, tenant, role_of(role), person, lifetime))


@app.command()
def mark(context: typer.Context, example: ExampleArgument, tenant: TenantOption, reviewer: ReviewerOption) -> None:
    """Mark a missed identifier, which standard input has.

    As it stands in the text, maybe behind a kind and a tab. Every example of the tenant that has it is withdrawn.
    """
    from producers.cli.terms import given_terms
    from producers.commands.marking import mark as marked
    from tenancy.errors import Refused

    given = given_terms()
    if len(given) != 1:
        raise Refused("one-term", "refused: mark one identifier at a time; give one line")

    async def act(tenancy: Tenancy, settings: OperatorSettings) -> None:
        await marked(
            tenancy,
            tenant,
            example,
            given[0],
            reviewer_id=reviewer,
            deadline_seconds=settings.handler_deadline_seconds,
        )

    read(context, act)
    typer.echo("marked: every example that has it is withdrawn; `sano withdrawals` shows what becomes of adapters")


def is_terminal() -> bool:
    return sys.stdout.isatty()


def _review(
    context: typer.Context,
    example: str,
    tenant: TenantId,
    version: int,
    reviewer: str,
    verdict: Verdict,
    reason: str | None = None,
) -> None:
    from producers.commands.reviewing import review

    async def act(tenancy: Tenancy, _: OperatorSettings) -> ProposalView:
        return await review(
            tenancy,
            tenant,
            example,
            version=version,
            reviewer_id=reviewer,
            verdict=verdict,
            reason_code=reason,
        )

    proposal = command(context, act)
    required = proposal.reviewers_required
    typer.echo(f"{example} version {version} is {verdict} by {reviewer}; {required} must agree")
