"""Waits for consumers' results by polling the objects that they write. Every wait has a timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from producers.progress import Progress, silent
from producers.queries.purges import purge_of
from producers.sources.importing import Imported
from schemas.objects import object_keys
from schemas.objects.curation import ExampleRecord
from schemas.objects.purges import PurgeRecord
from schemas.objects.state import RunState, TenantState
from tenancy.bootstrap import Tenancy
from tenancy.errors import Transient
from tenancy.state.archive import Archive
from tenancy.state.registry import require_active
from tenancy.tenant_id import TenantId

POLL_SECONDS = 0.5

T = TypeVar("T")

Report = Callable[[str], None]
"""Called with where the awaited thing stands, at each look."""


class WaitedTooLong(Transient):
    """It has not happened yet; it may still, since waiting or not changes nothing."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} did not happen within {seconds:g} s; it goes on without us, look again later")


def ignore(status: str) -> None:
    """The report of a caller who does not look."""


async def until(look: Callable[[], Awaitable[T | None]], *, what: str, timeout_seconds: float) -> T:
    """Look every :data:`POLL_SECONDS` until there is something. Raises :class:`WaitedTooLong`."""
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                found = await look()
                if found is not None:
                    return found
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise WaitedTooLong(what, timeout_seconds) from None


async def run_ended(
    tenancy: Tenancy, tenant: TenantId, run_id: str, *, timeout_seconds: float, report: Report = ignore
) -> RunState:
    """The run once it is completed, rejected or failed; a completed one once its activation is decided as well.

    Raises :class:`TenantFenced` when a purge ends it, and :class:`WaitedTooLong`.
    """

    async def look() -> RunState | None:
        state = require_active((await tenancy.states.read(tenant)).state)
        run = state.runs.get(run_id)
        if run is None:
            report("requested")
            return await Archive(await tenancy.store(tenant)).run(run_id)
        is_completed = run.status == "completed"
        report("activating" if is_completed else run.status)
        return run if run.is_over and (not is_completed or _is_activation_decided(state, run)) else None

    return await until(look, what=f"the end of run {run_id}", timeout_seconds=timeout_seconds)


def _is_activation_decided(state: TenantState, run: RunState) -> bool:
    """Whether the adapters consumer will not activate this run's adapter any more, having done so or not."""
    digest = run.adapter_digest
    if digest is None or state.policy.activation == "manual" or digest in state.adapter_history:
        return True
    own = state.adapters.get(digest)
    if own is None or own.status == "retired":
        return True
    if state.active_adapter is None:
        return False
    active = state.adapters[state.active_adapter]
    return state.active_adapter == digest or active.is_newer_than(own)


async def examples_curated(
    tenancy: Tenancy, tenant: TenantId, imported: Imported, *, timeout_seconds: float, progress: Progress = silent
) -> None:
    """Return once curation has decided on every example of an import. Raises :class:`WaitedTooLong`.

    Looks at one undecided example at a time: curation takes a tenant's events in order, so they come in order.
    """
    store = await tenancy.store(tenant)
    pending = [example for example in imported.examples if example.status != "already_decided"]
    total = len(pending)

    async def look() -> bool | None:
        await tenancy.active(tenant)
        while pending:
            record, _ = await store.find_record(object_keys.example(pending[0].example_id), ExampleRecord)
            if record is None or (record.version < pending[0].version and record.status != "withdrawn"):
                return None
            pending.pop(0)
            progress("curating", total - len(pending), total)
        return True

    progress("curating", 0, total)
    await until(look, what=f"curation of all {total} examples", timeout_seconds=timeout_seconds)


async def purge_certified(
    tenancy: Tenancy, tenant: TenantId, *, timeout_seconds: float, report: Report = ignore
) -> PurgeRecord:
    """The record of the tenant's purge once it is certified. Raises :class:`WaitedTooLong`."""

    async def look() -> PurgeRecord | None:
        found = await purge_of(tenancy, tenant)
        report(found if isinstance(found, str) else found.step)
        return found if isinstance(found, PurgeRecord) and found.step == "certified" else None

    return await until(look, what="the certificate of the purge", timeout_seconds=timeout_seconds)
