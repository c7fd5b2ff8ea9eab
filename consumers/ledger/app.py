"""Wires the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from consumers.ledger import audit, handlers
from consumers.ledger.audit_facts import AUDITED
from consumers.ledger.budgets import BUDGET_SECONDS, Budgets
from consumers.ledger.canaries import CANARY_SECONDS, Canaries
from consumers.ledger.inventory import Inventory
from consumers.ledger.keeper import AuditKeeper
from consumers.ledger.ports import LedgerPorts
from consumers.ledger.settings import LedgerSettings
from consumers.ledger.usage_metrics import usage_counters
from consumers.runtime.dispatch import Handlers, on
from consumers.runtime.runs import LONG_RUN, InRuns
from consumers.runtime.service import serve
from consumers.runtime.share import Share
from schemas.bus import events
from schemas.bus.retention import kept, survival
from schemas.bus.topics import LIVE_TOPICS
from schemas.evidence.purposes import Purpose
from tenancy.audit.checkpoints import Checkpointer
from tenancy.bootstrap import Tenancy, process_keys
from tenancy.knowledge.database.connection import opened
from tenancy.lifecycle.costs import read_prices
from tenancy.platform.settings import loaded_or_exit
from tenancy.service.periodic import LOOKS, Periodic
from tenancy.state.rounds import TICK_SECONDS

HANDLERS: Handlers[LedgerPorts] = dict(
    [
        on(events.UsageRecorded, InRuns(handlers.on_usage_recorded, handlers.on_usages_recorded)),
        on(events.OutcomeRecorded, InRuns(audit.on_outcome_recorded, audit.on_outcomes_recorded, LONG_RUN)),
        *(on(model, audit.on_audited) for model in AUDITED),
        *(on(model, InRuns(audit.on_audited, audit.on_decisions_audited, LONG_RUN)) for model in audit.DECISIONS),
    ]
)


def main() -> None:
    settings = loaded_or_exit(LedgerSettings)

    @asynccontextmanager
    async def ports(tenancy: Tenancy, share: Share) -> AsyncIterator[tuple[LedgerPorts, Sequence[Periodic]]]:
        checkpointer = Checkpointer(tenancy.audit, process_keys(settings, Purpose.AUDIT))
        longest = survival(kept(settings.retention).values())
        keeper = AuditKeeper(tenancy, checkpointer, settings.quiesce_seconds, longest, owns=share.owns)
        signing = Periodic("audit keeper", settings.audit_checkpoint_seconds, keeper.reconcile, at_once=LOOKS)
        sweeping = Periodic("audit round", TICK_SECONDS, keeper.sweep)
        prices = None if settings.price_file is None else read_prices(settings.price_file)
        counters = usage_counters()
        budgets = Budgets(tenancy, prices, counters)
        comparing = Periodic("budgets", BUDGET_SECONDS, budgets.reconcile)
        canaries = Canaries(tenancy, counters)
        judging = Periodic("canaries", CANARY_SECONDS, canaries.reconcile)
        made = LedgerPorts(
            tenancy,
            checkpointer,
            settings.audit_checkpoint_entries,
            counters,
            budgets.spenders,
            canaries.reported,
        )
        async with opened(settings) as database:
            inventory = Periodic("storage inventory", TICK_SECONDS, Inventory(tenancy, database).take)
            yield made, (signing, sweeping, inventory, comparing, judging)

    serve("ledger", settings=settings, topics=LIVE_TOPICS, handlers=HANDLERS, ports=ports)


if __name__ == "__main__":
    main()
