"""Defines options and arguments that several commands share; a wrong one is a usage error."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tenancy.tenant_id import TenantId
else:
    TenantId = str  # to typer; the callback makes it one


def tenant_id(value: str | None) -> TenantId | None:
    if value is None:
        return None
    from tenancy import tenant_id
    from tenancy.errors import Refused

    try:
        return tenant_id.TenantId(value)
    except Refused as refusal:
        raise typer.BadParameter(str(refusal).removeprefix("refused: ")) from None


def code(value: str) -> str:
    """The callback of what is a code."""
    from schemas.base.identifiers import REASON_CODE_PATTERN

    if re.fullmatch(REASON_CODE_PATTERN, value) is None:
        raise typer.BadParameter("a code is lower-case letters, digits and hyphens; no free text")
    return value


def opaque_id(value: str | None) -> str | None:
    """The callback of what is an id of others' choice."""
    from schemas.base.identifiers import OPAQUE_ID_IN_WORDS, OPAQUE_ID_PATTERN

    if value is not None and re.fullmatch(OPAQUE_ID_PATTERN, value) is None:
        raise typer.BadParameter(f"an id is {OPAQUE_ID_IN_WORDS}")
    return value


def _digest(value: str | None) -> str | None:
    if value is not None and re.fullmatch(r"[0-9a-f]{8,64}", value) is None:
        raise typer.BadParameter("a digest is 64 hex digits, or its first 8 or more")
    return value


def _model(value: str) -> str:
    return value if value in ("active", "base") else str(_digest(value))


TenantOption = Annotated[TenantId, typer.Option("--tenant", callback=tenant_id, help="The tenant's id.")]
TenantArgument = Annotated[TenantId, typer.Argument(callback=tenant_id, help="The tenant's id.")]
NewTenantArgument = Annotated[
    TenantId | None, typer.Argument(callback=tenant_id, help="An id; a random one if absent.")
]
DigestArgument = Annotated[str, typer.Argument(callback=_digest, help="An adapter's digest, or its first 8 digits.")]
OptionalDigestArgument = Annotated[
    str | None, typer.Argument(callback=_digest, help="An adapter's digest, or its first 8 digits.")
]
ModelOption = Annotated[str, typer.Option("--model", callback=_model, help="active, base, or a digest.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Return only when it is over.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=1.0, help="Seconds to wait at most.")]
OptionalTenantOption = Annotated[
    TenantId | None, typer.Option("--tenant", callback=tenant_id, help="One tenant; all if absent.")
]
AdapterOption = Annotated[
    str | None, typer.Option("--adapter", callback=_digest, help="One adapter, by its digest or its first 8 digits.")
]
