"""A purge has one certificate: what the bus says of it is the hash of the one that lies in the bucket."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from consumers.purge import certificate as certificates
from consumers.purge.driver import PurgeReconciler
from consumers.purge.policy import PurgePolicy
from schemas.bus import events
from schemas.bus.events import PurgeCompleted
from schemas.objects import object_keys
from tenancy.evidence.certificate_rules import RULES
from tests.fixtures.all_keys import AllKeys
from tests.invariants.worlds import assert_purged
from tests.world.crashes import SimulatedCrash
from tests.world.world import POLICY, QUIESCE_SECONDS, World


async def test_a_purge_that_died_after_its_certificate_announces_that_one_after_an_upgrade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    tenant = await world.onboard("t1", POLICY)
    await world.publish(tenant, events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op"))
    key = object_keys.certificate_key(tenant, "p1")
    for _ in range(20):
        await world.step()
    assert (await world.driver.records.read(tenant, "p1")).step == "deleted"
    world.now += timedelta(seconds=QUIESCE_SECONDS + 1)
    put = world.memory.put

    async def dying(name: str, body: bytes, **conditions: object) -> str:
        etag = await put(name, body, **conditions)  # type: ignore[arg-type]
        if name == key:
            raise SimulatedCrash("after the certificate")
        return etag

    with monkeypatch.context() as dies:
        dies.setattr(world.memory, "put", dying)
        with pytest.raises(SimulatedCrash):
            await world.driver.reconcile()
    first = (await world.memory.get(key)).body
    assert (await world.state(tenant)).status == "purging"

    monkeypatch.setattr(certificates, "TOOL", "sanolith 99.0.0")
    monkeypatch.setattr(certificates, "broken", lambda _: RULES[:1])  # it would not sign it now
    upgraded = PurgeReconciler(world.outside, AllKeys.made(), PurgePolicy(quiesce_seconds=QUIESCE_SECONDS))
    await upgraded.reconcile()
    await assert_purged(world, tenant)
    assert (await world.memory.get(key)).body == first
    log = world.bus.topics[events.TENANTS]
    [completed] = [event.data for event in log if isinstance(event.data, PurgeCompleted)]
    assert completed.certificate_sha256 == hashlib.sha256(first).hexdigest()
