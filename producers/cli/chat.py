"""Asks one question, as the tenant's applications do: ``sano chat``."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from producers.cli.options import JsonOption, ModelOption, TenantOption, TimeoutOption
from producers.cli.output import print_json, waiting
from producers.cli.platform import platform, read

TOKEN_LIFETIME = timedelta(minutes=5)


def add_to(app: typer.Typer) -> None:
    app.command()(chat)


def chat(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="What to ask.")],
    tenant: TenantOption,
    model: ModelOption = "active",
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of the answer at most.")] = 128,
    timeout: TimeoutOption = 120.0,
    json: JsonOption = False,
) -> None:
    """Ask the serving API one question.

    Greedily, with a token of five minutes; the answer goes to stdout and nowhere else.
    """
    from producers.operations.chat_client import ask
    from producers.queries.adapters import whole_digest
    from schemas.evidence.purposes import Purpose
    from tenancy.bootstrap import signer
    from tenancy.errors import Refused
    from tenancy.tokens import TokenIssuer

    settings = platform(context).settings()
    if settings.inference_url is None:
        raise Refused("no-inference", "refused: no inference URL is known; set SANO_INFERENCE_URL, or run `sano up`")
    if model not in ("active", "base"):
        model = read(context, lambda tenancy, _: whole_digest(tenancy, tenant, model))
    token = TokenIssuer(signer(settings, Purpose.TOKEN)).issue(tenant, TOKEN_LIFETIME)
    with waiting("asking"):
        answer = asyncio.run(
            ask(settings.inference_url, token, question, model=model, max_tokens=max_tokens, timeout_seconds=timeout)
        )
    if json:
        return print_json(answer)
    typer.echo(answer.text)
    return typer.echo(f"answered by {answer.adapter}", err=True)
