"""Runs what proposes, with the bucket or with nothing but the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from producers.cli.platform import command, platform

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

    from producers.settings import ImportSettings, OperatorSettings
    from producers.sources.proposing import Proposer
    from tenancy.bootstrap import Tenancy
    from tenancy.bus import Publisher
    from tenancy.tenant_id import TenantId

T = TypeVar("T")


def proposing(
    context: typer.Context,
    tenant: TenantId,
    jwk: Path | None,
    act: Callable[[Proposer], Awaitable[T]],
    *,
    makes_ids: bool = True,
) -> T:
    """Run ``act`` with what proposes. Where the tenant's public key is in a file, nothing but the bus is needed.

    ``makes_ids``: without, no source's key is needed, and no id may be made.
    """
    from producers.connection import EVENT_SOURCE
    from producers.settings import import_settings
    from producers.sources.proposing import Proposer, public_key_of, read_public_key
    from producers.sources.source_key import SourceKey
    from tenancy.redaction.standard import standard_gate

    def proposer(settings: ImportSettings, key: OKPKey, publisher: Publisher) -> Proposer:
        source_key = SourceKey.read(settings.source_key_file) if makes_ids else SourceKey(b"")
        shifted = settings.source_dates == "shifted"
        return Proposer(tenant, key, source_key, standard_gate(), publisher, EVENT_SOURCE, shift_dates=shifted)

    async def with_bucket(tenancy: Tenancy, settings: OperatorSettings) -> T:
        key = public_key_of(await tenancy.keys.public_key(tenant))
        return await act(proposer(settings, key, tenancy.publisher))

    if jwk is None:
        return command(context, with_bucket)
    settings, key = import_settings(), read_public_key(jwk)

    async def without_bucket() -> T:
        async with platform(context).publishing(settings) as publisher:
            return await act(proposer(settings, key, publisher))

    return asyncio.run(without_bucket())
