"""Looking for open purges costs what is open, however many there ever were."""

from __future__ import annotations

from producers import commands
from producers.onboarding import onboard
from tenancy.memory import MemoryObjectStore
from tenancy.objects import StoredObject
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import Parts, purge_ports, purge_to_the_end


class NotingStore(MemoryObjectStore):
    """Notes which objects are read."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_read: list[str] = []

    async def get(self, key: str) -> StoredObject:
        self.keys_read.append(key)
        return await super().get(key)


async def test_the_record_of_a_purge_that_is_over_is_read_once_by_a_process() -> None:
    objects = NotingStore()
    parts = Parts(objects)
    for number in range(3):
        tenant = TenantId(f"t{number}")
        await onboard(parts.tenancy, tenant)
        await commands.churn(parts.tenancy, tenant, requested_by="op")
        await purge_to_the_end(parts)
    driver = purge_ports(parts).driver
    objects.keys_read.clear()
    await driver.look()
    assert len(objects.keys_read) == 3, "a new process finds out for itself"
    await driver.look()
    assert len(objects.keys_read) == 3
