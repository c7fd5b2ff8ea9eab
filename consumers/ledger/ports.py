"""Declares what the ledger acts through."""

from __future__ import annotations

from dataclasses import dataclass, field

from consumers.ledger.usage_metrics import UsageCounters, usage_counters
from tenancy.audit.checkpoints import Checkpointer
from tenancy.bootstrap import Tenancy
from tenancy.tenant_id import TenantId


@dataclass(frozen=True)
class LedgerPorts:
    """``checkpoint_entries``: so many unsigned entries of a tenant make the ledger sign its log itself.
    ``spenders``: tenants whose usage was entered, for :class:`~consumers.ledger.budgets.Budgets`.
    ``reported``: those of which answers beside a canary were, for :class:`~consumers.ledger.canaries.Canaries`.
    """

    tenancy: Tenancy
    checkpointer: Checkpointer
    checkpoint_entries: int
    counters: UsageCounters = field(default_factory=usage_counters)
    spenders: set[TenantId] = field(default_factory=set)
    reported: set[TenantId] = field(default_factory=set)
