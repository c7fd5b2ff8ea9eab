"""Looking for open purges costs what is open, however many there ever were."""

from __future__ import annotations

from producers.commands import requests
from producers.commands.onboarding import onboard
from tenancy.tenant_id import TenantId
from tests.fixtures.noting_store import NotingStore
from tests.unit.operator_parts import Parts, purge_ports, purge_to_the_end


async def test_the_record_of_a_purge_that_is_over_is_read_once_by_a_process() -> None:
    objects = NotingStore()
    parts = Parts(objects)
    for number in range(3):
        tenant = TenantId(f"t{number}")
        await onboard(parts.tenancy, tenant)
        await requests.churn(parts.tenancy, tenant, requested_by="op")
        await purge_to_the_end(parts)
    driver = purge_ports(parts).driver
    objects.keys_read.clear()
    await driver.reconcile()
    assert len(objects.keys_read) == 3, "a new process finds out for itself"
    await driver.reconcile()
    assert len(objects.keys_read) == 3
