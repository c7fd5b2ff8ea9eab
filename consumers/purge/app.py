"""Wires the purge consumer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from opentelemetry import metrics

from consumers.purge import handlers
from consumers.purge.dead_letters import on_dead_letter
from consumers.purge.driver import PurgeReconciler
from consumers.purge.handlers import PurgePorts
from consumers.purge.onboarding import on_tenant_onboarded
from consumers.purge.policy_changes import on_policy_changed
from consumers.purge.settings import PurgeSettings
from consumers.purge.watchdog import Watchdog
from consumers.runtime.dispatch import Handlers, on
from consumers.runtime.service import serve
from consumers.runtime.share import Share
from schemas.bus import events
from schemas.evidence.purposes import Purpose
from tenancy.bootstrap import Tenancy, process_keys
from tenancy.knowledge.database.connection import opened
from tenancy.platform.logs import SCOPE
from tenancy.platform.settings import loaded_or_exit
from tenancy.service.periodic import LOOKS, Periodic
from tenancy.state.rounds import TICK_SECONDS

HANDLERS: Handlers[PurgePorts] = dict(
    [
        on(events.TenantOnboarded, on_tenant_onboarded),
        on(events.PolicyChanged, on_policy_changed),
        on(events.TenantChurned, handlers.on_tenant_churned),
        on(events.PurgeRequested, handlers.on_purge_requested),
        on(events.ExportAcknowledged, handlers.on_export_acknowledged),
        on(events.ReplicaEvicted, handlers.on_replica_evicted),
    ]
)


def main() -> None:
    settings = loaded_or_exit(PurgeSettings)

    @asynccontextmanager
    async def ports(tenancy: Tenancy, share: Share) -> AsyncIterator[tuple[PurgePorts, Sequence[Periodic]]]:
        keys = process_keys(settings, Purpose.CERTIFICATE, Purpose.AUDIT)
        async with opened(settings) as database:
            driver = PurgeReconciler(tenancy, keys, settings.purge_policy(), owns=share.owns, database=database)
            watchdog = Watchdog(driver)
            watchdog.export(metrics.get_meter(SCOPE))
            driving = Periodic("purge driver", settings.reconcile_seconds, driver.reconcile, at_once=LOOKS)
            watching = Periodic("purge watchdog", settings.reconcile_seconds, watchdog.reconcile)
            sweeping = Periodic("purge round", TICK_SECONDS, driver.sweep)
            yield PurgePorts(tenancy, keys.trust, driver, driving.poke), (driving, watching, sweeping)

    serve(
        "purge",
        settings=settings,
        topics=(events.TENANTS, events.REPLICAS),
        handlers=HANDLERS,
        ports=ports,
        on_dead_letter=on_dead_letter,
    )


if __name__ == "__main__":
    main()
