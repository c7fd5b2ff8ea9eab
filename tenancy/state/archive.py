"""Archives ended runs and adapters that are not among the latest, so that a tenant's state does not grow.

The state is read and written by every event of the tenant. A record is written first, and a later swap removes its
entry from the state: a reader that finds no entry finds the record. While there is an entry, the entry counts and the
record may be stale.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from pydantic import BaseModel

from schemas.objects import object_keys
from schemas.objects.state import AdapterState, RunState, TenantState, oldest_first
from tenancy.errors import ObjectNotFound, PreconditionFailed
from tenancy.platform.concurrency import gathered
from tenancy.state.activation import earlier_adapters
from tenancy.state.registry import StateRegistry, require_active
from tenancy.storage.objects import ObjectStore
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

KEPT_RUNS = 16
KEPT_ADAPTERS = 16


def surplus_runs(state: TenantState) -> list[str]:
    """Ended runs that are not among the :data:`KEPT_RUNS` that were requested last."""
    ended = [run_id for run_id, run in state.runs.items() if run.is_over]
    ended.sort(key=lambda run_id: state.runs[run_id].requested_at)
    return ended[: max(0, len(ended) - KEPT_RUNS)]


def surplus_adapters(state: TenantState) -> list[str]:
    """Adapters that are neither active, nor the canary, nor among the newest :data:`KEPT_ADAPTERS`, nor among as
    many that rollbacks or a retirement would return to first.
    """
    canary = None if state.canary is None else state.canary.adapter_digest
    movable = [
        digest
        for digest in oldest_first(state.adapters)
        if state.adapters[digest].status != "publishing" and digest not in (state.active_adapter, canary)
    ]
    returned_to = earlier_adapters(state)[-KEPT_ADAPTERS:]
    return [digest for digest in movable[: max(0, len(movable) - KEPT_ADAPTERS)] if digest not in returned_to]


async def is_archived(objects: ObjectStore, tenant: TenantId, digest: str) -> bool:
    """Whether the adapter was moved here. The tenant's key need not be opened for that."""
    return await objects.exists(object_keys.tenant_key(tenant, object_keys.adapter_record(digest)))


@dataclass(frozen=True)
class Archive:
    """One tenant's records of what its state does not hold any more."""

    store: TenantStore

    async def run(self, run_id: str) -> RunState | None:
        """The ended run, if it was moved here."""
        return (await self.store.find_record(object_keys.ended_run(run_id), RunState))[0]

    async def adapter(self, digest: str) -> AdapterState | None:
        """The adapter, if it was moved here."""
        return (await self.store.find_record(object_keys.adapter_record(digest), AdapterState))[0]

    async def known_adapter(self, state: TenantState, digest: str) -> AdapterState | None:
        """The adapter, wherever it is kept. ``state`` must have been read before this is called."""
        return state.adapters.get(digest) or await self.adapter(digest)

    async def all_adapters(self, state: TenantState) -> dict[str, AdapterState]:
        """Every published adapter, wherever it is kept. ``state`` must have been read before this is called."""
        digests = [digest async for digest in self.digests() if digest not in state.adapters]
        archived = zip(digests, await gathered(self.adapter(digest) for digest in digests), strict=True)
        return {**{digest: adapter for digest, adapter in archived if adapter is not None}, **state.adapters}

    async def all_runs(self, state: TenantState) -> dict[str, RunState]:
        """Every run, wherever it is kept. ``state`` must have been read before this is called."""
        ids = [run_id async for run_id in self.run_ids() if run_id not in state.runs]
        archived = zip(ids, await gathered(self.run(run_id) for run_id in ids), strict=True)
        return {**{run_id: run for run_id, run in archived if run is not None}, **state.runs}

    async def run_ids(self) -> AsyncIterator[str]:
        """Every run that was ever moved here."""
        async for relative in self.store.list("runs"):
            run_id = relative.split("/")[1]
            if relative == object_keys.ended_run(run_id):
                yield run_id

    async def digests(self) -> AsyncIterator[str]:
        """Every adapter that was ever moved here."""
        async for relative in self.store.list("adapters"):
            digest = relative.split("/")[1]
            if relative == object_keys.adapter_record(digest):
                yield digest

    async def tidy(self, states: StateRegistry) -> bool:
        """Move what is surplus out of the state. Anybody may, at any time; False when there was nothing to move."""
        tenant = self.store.tenant
        seen = (await states.read(tenant)).state
        runs, adapters = surplus_runs(seen), surplus_adapters(seen)
        if not runs and not adapters:
            return False
        # The ETags are read before the state: a record that is written on the strength of an entry which somebody
        # else moved and changed meanwhile then fails its precondition.
        run_etags = {run_id: await self._etag(object_keys.ended_run(run_id), RunState) for run_id in runs}
        adapter_etags = {
            digest: await self._etag(object_keys.adapter_record(digest), AdapterState) for digest in adapters
        }
        state = require_active((await states.read(tenant)).state)
        moved_runs = {
            run_id: state.runs[run_id]
            for run_id, etag in run_etags.items()
            if await self._written(object_keys.ended_run(run_id), state.runs.get(run_id), etag)
        }
        moved_adapters = {
            digest: state.adapters[digest]
            for digest, etag in adapter_etags.items()
            if await self._written(object_keys.adapter_record(digest), state.adapters.get(digest), etag)
        }

        def without(current: TenantState) -> TenantState:
            require_active(current)
            surplus = surplus_adapters(current)  # it may have become active, or what a rollback returns to, meanwhile
            kept_adapters = {
                digest: adapter
                for digest, adapter in current.adapters.items()
                if digest not in surplus or moved_adapters.get(digest) != adapter
            }
            return current.evolve(
                runs={run_id: run for run_id, run in current.runs.items() if moved_runs.get(run_id) != run},
                adapters=kept_adapters,
                adapter_history=tuple(past for past in current.adapter_history if past in kept_adapters),
            )

        await states.swap(tenant, without)
        return True

    async def _etag(self, relative: str, model: type[BaseModel]) -> str | None:
        return (await self.store.find_record(relative, model))[1]

    async def _written(self, relative: str, entry: BaseModel | None, etag: str | None) -> bool:
        if entry is None:
            return False
        with suppress(PreconditionFailed, ObjectNotFound):
            await self.store.put_record(relative, entry, if_absent=etag is None, if_match=etag)
            return True
        return False
