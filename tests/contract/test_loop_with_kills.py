"""The whole loop on a real S3 server, in which processes are killed before effects of many kinds: it ends as it does
undisturbed in memory, and of the purged tenant the server has not one version left.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.bus import events
from schemas.objects import object_keys
from schemas.tenant.policy import TenantPolicy
from tenancy.tenant_id import TenantId
from tests.contract.conftest import bucket_on
from tests.fixtures.seaweedfs import SeaweedFS
from tests.world.crashes import CrashAtKinds
from tests.world.summary import summary
from tests.world.world import World

TENANT = TenantId("t1")
POLICY = TenantPolicy(min_new_examples=2, min_training_examples=2, right_of_export=False)
KILLED = {
    "curation": ("put:examples", "swap:state", "publish:sano.training.requested"),
    "training": ("put:runs", "swap:state"),
    "worker": ("put:training-sets", "put:adapters"),  # of three attempts that a run has
    "adapters": ("swap:state",),
    "ledger": ("put:audit-claims", "put:audit-entries", "put:audit-head", "put:audit-checkpoints"),
    "purge": ("put:purges", "swap:state", "erase:key.json", "erase:adapters", "put:certificate"),
}
"""Which processes, and right before the first effect of which kind."""


class SaltedAlike(World):
    """What an example's commitment is salted with is in the names that are compared."""

    def salt(self, tenant: TenantId, example_id: str, version: int) -> str:
        return "5" * 64


async def test_killed_at_effects_of_many_kinds_the_loop_ends_on_a_real_server_as_undisturbed_in_memory(
    tmp_path: Path, seaweedfs: SeaweedFS
) -> None:
    crash = CrashAtKinds(kinds={(process, effect) for process, effects in KILLED.items() for effect in effects})
    objects = bucket_on(seaweedfs.endpoint_url, seaweedfs.credentials)
    try:
        ended = await _loop(SaltedAlike(tmp_path, crash, objects))
        left = [version.key async for version in objects.versions(object_keys.tenant_prefix(TENANT))]
    finally:
        await objects.aclose()
    assert crash.kinds == set(), "each of them was come to"
    assert left == []
    assert ended == await _loop(SaltedAlike(tmp_path))


async def _loop(world: World) -> dict[str, Any]:
    """From an approval to a certificate."""
    tenant = await world.onboard(TENANT, POLICY)
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for number in range(2):
        await world.publish(tenant, await world.approval(tenant, f"e{number}"))
    await world.settle()
    assert (await world.state(tenant)).active_adapter is not None
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    ended = await summary(world, tenant)
    assert ended["purge"]["step"] == "certified"
    assert ended["audit"]["problems"] == ()
    return ended
