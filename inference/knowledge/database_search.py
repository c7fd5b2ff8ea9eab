"""Searches in PostgreSQL, for tenants whose policy keeps their index there.

An index that is not of the set that the state names is filled beside the requests, by whichever replica is asked: steps
of several take turns. A change has most often arrived already, by the consumer that published it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from inference.knowledge.port import IndexNotReady, Searched
from schemas.objects.state import KnowledgeState
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound, TenantFenced
from tenancy.knowledge.database.connection import Database
from tenancy.knowledge.database.filling import Filling
from tenancy.knowledge.database.sealing import IndexKey
from tenancy.knowledge.database.searching import searched
from tenancy.knowledge.search import Question
from tenancy.platform.logs import SCOPE, error_location
from tenancy.storage.kept_keys import KeptKeys
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.inference")

PATIENCE_SECONDS = 3.0
"""So long a question waits for its index, and its client is told to wait before it asks again."""


@dataclass
class DatabaseSearch:
    """Implements :class:`PassageSearch`. ``require_admitted`` raises where a tenant is fenced, of which no key is kept
    then. All bookkeeping is on one event loop.
    """

    tenancy: Tenancy
    database: Database
    require_admitted: Callable[[TenantId], None]
    patience_seconds: float = PATIENCE_SECONDS
    _keys: KeptKeys[IndexKey] = field(init=False, repr=False)
    _filling: dict[TenantId, asyncio.Task[bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._keys = KeptKeys(self.tenancy.keys, IndexKey.of, self.require_admitted)

    async def search(self, tenant: TenantId, state: KnowledgeState, question: Question) -> Searched:
        """See the port. Raises :class:`IndexNotReady` while the index is filled."""
        key, began = await self._keys.of(tenant), time.monotonic()
        while True:
            found = await searched(self.database, key, state.digest, question)
            if found is not None:
                return Searched(*found)
            latest = (await self.tenancy.active(tenant)).state.knowledge
            if latest is None:
                raise ObjectNotFound(tenant)
            if latest.digest == state.digest:
                left = began + self.patience_seconds - time.monotonic()
                ended, _ = await asyncio.wait({self._fill(tenant, question)}, timeout=max(0.0, left))
                if not any(not task.cancelled() and task.result() for task in ended):
                    raise IndexNotReady(self.patience_seconds)
            state = latest

    def forget(self, tenant: TenantId) -> None:
        """Drop the key of a tenant that is fenced, and fill its index no further."""
        self._keys.forget(tenant)
        if tenant in self._filling:
            self._filling[tenant].cancel()

    async def close(self) -> None:
        """Fill nothing any more."""
        filling = list(self._filling.values())
        for task in filling:
            task.cancel()
        await asyncio.gather(*filling, return_exceptions=True)

    def _fill(self, tenant: TenantId, question: Question) -> asyncio.Task[bool]:
        task = self._filling.get(tenant)
        if task is None:
            made = self._filled(tenant, question.embedder, len(question.vector))
            task = self._filling[tenant] = asyncio.create_task(made, name="filling an index")
            task.add_done_callback(lambda _: self._filling.pop(tenant, None))
        return task

    async def _filled(self, tenant: TenantId, embedder: str, dimensions: int) -> bool:
        """Whether it was, or changed meanwhile: whoever asks looks again. Nobody may wait for it any more."""
        filling = Filling(self.database, self.tenancy.states, self.tenancy.store)
        try:
            await filling.fill(tenant, embedder, dimensions)
        except ObjectNotFound:
            return True  # what it was to read was replaced and erased
        except TenantFenced:
            return False
        except Exception as error:
            logger.error("index not filled", extra={"error": error_location(error)})
            return False
        return True
