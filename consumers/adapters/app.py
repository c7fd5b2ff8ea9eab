"""Wiring of the adapters consumer."""

from __future__ import annotations

from collections.abc import Mapping

from consumers.adapters import handlers
from consumers.adapters.settings import AdaptersSettings
from consumers.runtime.dispatch import Handler
from consumers.runtime.service import only_tenancy, serve
from schemas import events

HANDLERS: Mapping[type[events.EventData], Handler] = {events.AdapterReady: handlers.on_adapter_ready}


def main() -> None:
    serve(
        "adapters",
        settings=AdaptersSettings(),
        topics=(events.ADAPTERS,),
        handlers=HANDLERS,
        ports=only_tenancy,
    )


if __name__ == "__main__":
    main()
