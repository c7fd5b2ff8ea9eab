"""Audits adapter loads in the tenants' logs, in the background: no answer waits for it or fails because of it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from schemas.bus.envelope import event_id
from schemas.evidence.audit import Actor
from tenancy.audit.log import AuditRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused, Transient
from tenancy.platform.clock import random_nonce
from tenancy.platform.logs import SCOPE, error_location
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.inference")

AUDIT_SECONDS = 2.0
WAITING = 1000
LOADED = "adapter.loaded"


@dataclass
class LoadAudit:
    """Loads are noted in memory and entered by :meth:`enter` every :data:`AUDIT_SECONDS`, and by :meth:`close`.

    What is lost: the loads of the last seconds when the process is killed, those beyond :data:`WAITING` while the
    object store is out of reach, all that still wait when the replica stops, and those that cannot be entered, which
    hold up no others; ``on_lost`` counts all but the first. The adapters that are loaded then end with the process.
    """

    tenancy: Tenancy
    replica_id: str
    on_lost: Callable[[], None]
    _waiting: deque[tuple[TenantId, AuditRecord]] = field(default_factory=deque)

    def note(self, tenant: TenantId, digest: str) -> None:
        """Remember a load. Its nonce makes entering it again, after a lost answer, one entry."""
        if len(self._waiting) >= WAITING:
            self._lost("too many wait for the object store")
            return
        record = AuditRecord(
            occurrence=event_id(LOADED, tenant, f"{self.replica_id}|{digest}|{random_nonce()}"),
            kind=LOADED,
            time=self.tenancy.clock(),
            actor=Actor(role="replica", id=self.replica_id),
            facts={"adapter_digest": digest, "replica_id": self.replica_id},
        )
        self._waiting.append((tenant, record))

    async def enter(self) -> None:
        """Enter what is noted, oldest first; what the store does not take now stays for the next time."""
        while self._waiting:
            tenant, record = self._waiting[0]
            try:
                status = (await self.tenancy.states.read(tenant)).state.status
                await self.tenancy.audit.append(tenant, replace(record, recorded_while=status))
            except Transient:
                return
            except Refused as refusal:
                self._lost(refusal.code)
            except Exception as error:
                self._lost(error_location(error))  # its text may quote what was read
            self._waiting.popleft()

    async def close(self, seconds: float) -> None:
        """Enter for so long what is noted. What is left then is lost, also where only the store's answer is missing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.enter()
        while self._waiting:
            self._waiting.popleft()
            self._lost("the replica stopped before the object store took it")

    def _lost(self, reason: str) -> None:
        logger.error("load not audited", extra={"reason": reason})
        self.on_lost()
