"""Erases what finished runs left in staging: unpublished weights, made of examples that may be withdrawn since."""

from __future__ import annotations

from tenancy.state.registry import StateRegistry
from tenancy.storage.tenant_store import TenantStore


async def erase_leftovers(states: StateRegistry, store: TenantStore) -> None:
    """Erase what is staged of runs that are over. Whoever ends a run does so; this is for a crash in between, and for
    a worker that wrote one more file without its lease and was killed.
    """
    staged = {relative.split("/")[1] async for relative in store.list("staging")}
    if not staged:
        return
    # Read after the listing, so that it knows every run that was found: one that it does not hold is archived.
    runs = (await states.read(store.tenant)).state.runs
    for run_id in sorted(staged):
        if run_id not in runs or runs[run_id].is_over:
            await store.erase_folder("staging", run_id)
