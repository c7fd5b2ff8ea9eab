"""Looking for open purges costs what is open, however many there ever were."""

from __future__ import annotations

from producers.commands import requests
from producers.commands.onboarding import onboard
from tenancy.tenant_id import TenantId
from tests.fixtures.noting_store import NotingStore
from tests.unit.operator_parts import Parts, purge_ports, purge_to_the_end


async def test_the_records_of_purges_that_are_over_are_not_read_once_their_markers_are_gone() -> None:
    objects = NotingStore()
    parts = Parts(objects)
    for number in range(3):
        tenant = TenantId(f"t{number}")
        await onboard(parts.tenancy, tenant)
        await requests.churn(parts.tenancy, tenant, requested_by="op")
        await purge_to_the_end(parts)
    driver = purge_ports(parts).driver
    seconds = 0.0
    driver.now = lambda: seconds
    read = []
    for _ in range(3):
        objects.keys_read.clear()
        await driver.reconcile()
        read.append(len(objects.keys_read))
        seconds += driver.policy.quiesce_seconds
    assert read == [1, 0, 0], "of the last one its marker is there yet"
