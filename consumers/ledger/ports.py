"""What the ledger acts through."""

from __future__ import annotations

from dataclasses import dataclass

from tenancy.audit.checkpoints import Checkpointer
from tenancy.bootstrap import Tenancy


@dataclass(frozen=True)
class LedgerPorts:
    """``checkpoint_entries``: after so many entries of a tenant the log is signed without waiting for the keeper."""

    tenancy: Tenancy
    checkpointer: Checkpointer
    checkpoint_entries: int
