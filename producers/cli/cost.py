"""Prices what a tenant used: ``sano cost``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.options import JsonOption, TenantOption
from producers.cli.output import print_facts, print_json
from producers.cli.platform import read

if TYPE_CHECKING:
    from producers.queries.cost import CostView
    from producers.settings import OperatorSettings
    from tenancy.bootstrap import Tenancy


def add_to(app: typer.Typer) -> None:
    app.command()(cost)


def cost(
    context: typer.Context,
    tenant: TenantOption,
    month: Annotated[str, typer.Option("--month", help="YYYY-MM, in UTC.")],
    prices: Annotated[Path | None, typer.Option("--prices", help="The price file; SANO_PRICE_FILE if absent.")] = None,
    json: JsonOption = False,
) -> None:
    """Price a tenant's month, and what adaptation adds."""
    from producers.queries import cost as priced
    from tenancy.errors import Refused
    from tenancy.lifecycle.costs import Month, read_prices

    try:
        wanted = Month.named(month)
    except Refused as refusal:
        raise typer.BadParameter(str(refusal).removeprefix("refused: "), param_hint="--month") from None

    async def look(tenancy: Tenancy, settings: OperatorSettings) -> CostView:
        file = prices or settings.price_file
        if file is None:
            raise Refused(
                "no-prices", "refused: without prices nothing can be priced; set SANO_PRICE_FILE, or --prices"
            )
        return await priced.cost(tenancy, tenant, wanted, read_prices(file))

    found = read(context, look)
    if json:
        return print_json(found)
    return print_facts(_facts(found))


def _facts(found: CostView) -> dict[str, object]:
    def money(amount: float) -> str:
        return f"{amount:,.2f} {found.currency}"

    share = "-" if found.adaptation_share is None else f"{found.adaptation_share:.1%} of inference"
    facts: dict[str, object] = {
        "month": found.month,
        "prices": found.price_versions,
        "inference": money(found.inference),
        "training": money(found.training),
        "storage": money(found.storage),
        "total": money(found.total),
        "adaptation": f"{money(found.adaptation)}, {share}",
    }
    if found.budget is not None:
        facts["budget"] = f"{money(found.budget)}, {found.budget_used or 0:.0%} used; at 100 %: {found.on_budget}"
    return facts
