"""kill -9 of the serving replica between its eviction and its acknowledgement: the purge waits for it, and goes on
when the replica is back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.identity import ProcessIdentity
from deploy.local.services import INFERENCE, Folders
from deploy.local.teardown import running_members
from schemas.bus import events
from schemas.objects import object_keys
from schemas.objects.purges import PurgeRecord
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.errors import ObjectNotFound
from tenancy.tenant_id import TenantId
from tests.fixtures.history import onboarded
from tests.fixtures.platform import Platform, eventually

pytestmark = [pytest.mark.kafka, pytest.mark.engine, pytest.mark.slow]

TENANT = TenantId("server-kill")


def _purge(tenancy: Tenancy) -> Callable[[], object]:
    async def look() -> PurgeRecord | None:
        state = (await tenancy.states.read(TENANT)).state
        if state.purge is None:
            return None
        try:
            stored = await tenancy.objects.get(object_keys.purge_key(TENANT, state.purge.purge_id))
        except ObjectNotFound:
            return None
        return PurgeRecord.model_validate_json(stored.body)

    return look


def _of_the_engine(platform: Platform) -> list[ProcessIdentity]:
    members = running_members(Folders(platform.home))
    return [member for member in members if Path(f"/proc/{member.pid}/comm").read_text().startswith("VLLM::")]


@pytest.mark.timeout(1200)
async def test_a_purge_waits_for_a_killed_replica_and_never_skips_it(platform: Platform, shallow_base: Path) -> None:
    settings = {
        "SANO_BASE_MODEL": str(shallow_base),
        "SANO_REPLICA_ID": "replica-kill",
        "SANO_ADAPTER_DIR": str(platform.home / "adapters"),
        "SANO_KV_CACHE_GIB": "0.25",
        "SANO_MAX_CPU_LORAS": "2",
        "SANO_MAX_LORAS": "2",
        # Longer than a restart, so that the dead replica counts as alive until it is back.
        "SANO_REPLICA_LEASE_SECONDS": "600",
    }
    await asyncio.to_thread(platform.launch(INFERENCE, "before:publish:sano.replica.evicted", **settings))
    try:
        async with platform.tenancy() as tenancy:
            await onboarded(tenancy, TENANT, TenantPolicy())
            await tenancy.outbox.publish(TENANT, events.TenantChurned(requested_by="op"))
            await platform.died("inference")
            left = _of_the_engine(platform)
            assert left, "what outlives its server is found by its stack"
            for outlived in left:
                outlived.signal(signal.SIGKILL)  # they hold gigabytes
            look = _purge(tenancy)

            async def waits() -> PurgeRecord | None:
                record = await look()  # type: ignore[misc]
                return record if record is not None and record.step == "shredded" else None

            record = await eventually(waits, "the purge waits for the replica")
            assert record.replicas == ("replica-kill",)
            assert record.acknowledgements == ()
            await asyncio.sleep(3 * float(platform.environment["SANO_RECONCILE_SECONDS"]))
            assert await waits() is not None, "looking again does not skip the replica"
            await asyncio.to_thread(platform.start, INFERENCE, None, **settings)

            async def certified() -> PurgeRecord | None:
                record = await look()  # type: ignore[misc]
                return record if record is not None and record.step == "certified" else None

            record = await eventually(certified, "the purge was certified")
            assert [noted.outcome for noted in record.acknowledgements] == ["evicted"]
    finally:
        process = platform.processes.pop("inference")
        await asyncio.to_thread(process.stop, 60.0)
        await platform.forget_replica("replica-kill")
