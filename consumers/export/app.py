"""Wires the export consumer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from consumers.export import handlers
from consumers.export.handlers import ExportPorts
from consumers.runtime.dispatch import Handlers, on
from consumers.runtime.service import serve
from consumers.runtime.settings import ConsumerSettings
from consumers.runtime.share import Share
from schemas.bus import events
from tenancy.bootstrap import Tenancy, trust
from tenancy.platform.settings import loaded_or_exit
from tenancy.service.periodic import Periodic

HANDLERS: Handlers[ExportPorts] = dict([on(events.ExportRequested, handlers.on_export_requested)])


def main() -> None:
    settings = loaded_or_exit(ConsumerSettings)

    @asynccontextmanager
    async def ports(tenancy: Tenancy, share: Share) -> AsyncIterator[tuple[ExportPorts, Sequence[Periodic]]]:
        yield ExportPorts(tenancy, trust(settings)), ()

    serve("export", settings=settings, topics=(events.TENANTS,), handlers=HANDLERS, ports=ports)


if __name__ == "__main__":
    main()
