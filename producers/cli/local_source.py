"""Prepares the FHIR source of the local stack: its tenant, the tenant's public key, and an event key of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.key_files import write_private
from deploy.local.services import FHIR_JWK, fhir_event_key

if TYPE_CHECKING:
    from deploy.local.stack_file import StackFile
    from tenancy.tenant_id import TenantId

PUBLISHER = "ehr"


def source_prepared(tenant: str) -> Callable[[StackFile], None]:
    """The stack's hook, called before its services start: onboard the tenant, unless it is, and let the source sign."""
    from tenancy.tenant_id import TenantId

    name = TenantId(tenant)

    def prepare(stack: StackFile) -> None:
        folder = stack.trust_file.parent
        _registered(folder, stack, name)
        write_private(folder / FHIR_JWK, json.dumps(asyncio.run(_onboarded(name))).encode())

    return prepare


def _registered(folder: Path, stack: StackFile, tenant: TenantId) -> None:
    from producers.operations.trust_admin import TrustDesk, write_key
    from schemas.evidence.trust import SpeaksFor
    from tenancy.evidence.keys import LocalKey

    file = fhir_event_key(folder, tenant)
    if not file.exists():
        write_key(file, LocalKey.generate())
    key = LocalKey.read(file, str(file)).public_key
    root = Path(stack.trust_root_key)
    desk = TrustDesk(stack.trust_file, LocalKey.read(root, str(root)))
    if all(known.key_id != key.key_id for known in desk.file().keys):
        desk.register(key, SpeaksFor(publisher=PUBLISHER, tenants=(tenant,)))


async def _onboarded(tenant: TenantId) -> dict[str, object]:
    """The tenant's public key."""
    from producers.commands.onboarding import onboard
    from producers.settings import operator_settings
    from tenancy.bootstrap import open_tenancy
    from tenancy.errors import Refused

    settings = operator_settings()
    async with open_tenancy(settings, "operators") as tenancy:
        try:
            await onboard(tenancy, tenant, requested_by=settings.operator_id)
        except Refused as refusal:
            if refusal.code != "tenant-exists":  # it has a policy of its own, in a bucket of yours
                raise
        return dict(await tenancy.keys.public_key(tenant))
