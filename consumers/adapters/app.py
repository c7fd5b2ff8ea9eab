"""Wires the adapters consumer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from consumers.adapters import handlers
from consumers.adapters.handlers import AdaptersPorts
from consumers.adapters.settings import AdaptersSettings
from consumers.adapters.withdrawals import WithdrawalReconciler
from consumers.runtime.dispatch import Handlers, on
from consumers.runtime.service import serve
from consumers.runtime.share import Share
from schemas.bus import events
from schemas.evidence.purposes import Purpose
from tenancy.bootstrap import Tenancy, process_keys
from tenancy.lifecycle.replicas import Replicas
from tenancy.platform.settings import loaded_or_exit
from tenancy.service.periodic import LOOKS, Periodic
from tenancy.state.rounds import TICK_SECONDS

HANDLERS: Handlers[AdaptersPorts] = dict(
    [
        on(events.AdapterReady, handlers.on_adapter_ready),
        on(events.ReplicaEvicted, handlers.on_replica_evicted),
    ]
)


def main() -> None:
    settings = loaded_or_exit(AdaptersSettings)

    @asynccontextmanager
    async def ports(tenancy: Tenancy, share: Share) -> AsyncIterator[tuple[AdaptersPorts, Sequence[Periodic]]]:
        keys = process_keys(settings, Purpose.CERTIFICATE)
        signing = keys.signer(Purpose.CERTIFICATE)
        replicas = Replicas(tenancy.objects, tenancy.clock, settings.replica_answer_seconds)
        driver = WithdrawalReconciler(
            tenancy,
            signing,
            replicas,
            settings.quiesce_seconds,
            settings.handler_deadline_seconds,
            owns=share.owns,
        )
        driving = Periodic("withdrawal driver", settings.reconcile_seconds, driver.reconcile, at_once=LOOKS)
        sweeping = Periodic("withdrawal round", TICK_SECONDS, driver.sweep)
        yield AdaptersPorts(tenancy, keys.trust, driving.poke), (driving, sweeping)

    serve("adapters", settings=settings, topics=(events.ADAPTERS, events.REPLICAS), handlers=HANDLERS, ports=ports)


if __name__ == "__main__":
    main()
