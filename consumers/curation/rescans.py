"""Searches every text of a tenant for an identifier that a reviewer found missed, and withdraws what contains it.

A search is an object under ``terms/rescans/``, found by its marker and erased at its end. It reads the texts in the
order of their names, a page at a time, and saves its position after each page; another process resumes there. It
withdraws a match by the usual event, so adapters that contain it are replaced or retired as after any withdrawal.

The term is on the tenant's list before the search is written, so later proposals are judged with it. The gate at the
freeze finds what an import brings behind the search's position.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from consumers.runtime.policy import HANDLING
from schemas.bus.content import ExampleContent
from schemas.bus.events import ExampleWithdrawn
from schemas.objects import object_keys
from schemas.objects.curation import ExampleRecord
from schemas.objects.terms import Rescan
from tenancy.bootstrap import Tenancy
from tenancy.errors import KeyDestroyed, ObjectNotFound, PreconditionFailed, SealBroken, TenantFenced, UnknownTenant
from tenancy.lifecycle.terms import contains
from tenancy.platform.concurrency import gathered
from tenancy.platform.logs import SCOPE, trouble_logged
from tenancy.state.open_work import Left, OpenWork, announce, everybody
from tenancy.state.rounds import Rounds
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.curation")
GONE = (TenantFenced, KeyDestroyed)
_tried = partial(trouble_logged, logger, "search for a missed identifier not driven", but=GONE)

AT_ONCE = 64
"""Texts that are read between two looks at the tenant's state, and at most in memory."""
MISSED = "missed-identifier"


@dataclass
class RescanReconciler:
    """Drives the searches of its share of the tenants. ``deadline_seconds``: no step of a search lasts longer, and a
    purge waits that long for one that found the tenant active.
    """

    tenancy: Tenancy
    quiesce_seconds: float
    deadline_seconds: float = HANDLING.deadline_seconds
    now: Callable[[], float] = time.monotonic
    owns: Callable[[TenantId], bool] = everybody
    at_once: int = AT_ONCE
    _work: OpenWork = field(init=False)

    def __post_init__(self) -> None:
        objects, owns = self.tenancy.objects, lambda tenant: self.owns(tenant)
        self._work = OpenWork(objects, "rescans", self.quiesce_seconds, lambda: self.now(), owns)

    async def reconcile(self) -> None:
        """Take every open search to its end."""
        await self._work.reconcile(self._tried_at)

    async def sweep(self) -> None:
        """The round over all tenants: announces what no marker names."""
        for tenant in await Rounds(self.tenancy.states, "rescans", self.tenancy.clock).take():
            with suppress(*GONE), _tried():
                if (await self.tenancy.states.read(tenant)).state.status == "active" and await _names(
                    await self.tenancy.store(tenant)
                ):
                    await announce(self.tenancy.objects, "rescans", tenant)

    async def _tried_at(self, tenant: TenantId) -> Left:
        with suppress(*GONE), _tried():
            return await self._look_at(tenant)
        return "something"  # or it was purged since: the next look finds the fence

    async def _look_at(self, tenant: TenantId) -> Left:
        try:
            state = (await self.tenancy.states.read(tenant)).state
        except UnknownTenant:
            return "nothing"
        if state.status != "active":
            return "fenced"
        store = await self.tenancy.store(tenant)
        names = await _names(store)
        for name in names:
            with suppress(ObjectNotFound, PreconditionFailed):  # another process is at it, or has ended it
                await self._search(store, name)
        return "something" if names else "nothing"

    async def _search(self, store: TenantStore, name: str) -> None:
        search, etag = await store.get_record(name, Rescan)
        while True:
            async with asyncio.timeout(self.deadline_seconds):
                await self.tenancy.active(store.tenant)
                texts = await self._next(store, search.after)
                await self._withdraw_from(store, search, texts)
                if len(texts) < self.at_once:
                    await store.erase(name)
                    return
                search = search.evolve(after=texts[-1])
                etag = await store.put_record(name, search, if_match=etag)

    async def _next(self, store: TenantStore, after: str | None) -> list[str]:
        texts: list[str] = []
        async for name in store.list("contents", after=after or ""):
            texts.append(name)
            if len(texts) == self.at_once:
                break
        return texts

    async def _withdraw_from(self, store: TenantStore, search: Rescan, texts: Sequence[str]) -> None:
        found = await gathered(_text(store, name) for name in texts)
        opened = [(name, content) for name, content in zip(texts, found, strict=True) if content is not None]

        def hits() -> list[str]:
            return [name.split("/")[1] for name, content in opened if contains(search.term, content)]

        for example_id in dict.fromkeys(await asyncio.to_thread(hits)):
            if not await _is_withdrawn(store, example_id):
                withdrawn = ExampleWithdrawn(example_id=example_id, reason_code=MISSED)
                await self.tenancy.outbox.publish(store.tenant, withdrawn, time=search.asked_at)


async def _names(store: TenantStore) -> list[str]:
    return [name async for name in store.list("terms", "rescans")]


async def _text(store: TenantStore, name: str) -> ExampleContent | None:
    """None for what was erased in between, or opens for nobody and so cannot be trained on either."""
    try:
        return (await store.get_record(name, ExampleContent))[0]
    except (ObjectNotFound, SealBroken):
        return None


async def _is_withdrawn(store: TenantStore, example_id: str) -> bool:
    record, _ = await store.find_record(object_keys.example(example_id), ExampleRecord)
    return record is not None and record.status == "withdrawn"
