"""Onboards a tenant: creates its keys, then its state, then publishes the event."""

from __future__ import annotations

from schemas.base.contract import Contract
from schemas.base.identifiers import TenantName
from schemas.bus.events import TenantOnboarded
from schemas.objects.state import TenantState
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused, TenantFenced, UnknownTenant
from tenancy.platform.clock import random_nonce
from tenancy.state.policy_changes import require_consistent
from tenancy.state.registry import require_active
from tenancy.tenant_id import TenantId


class Onboarded(Contract):
    """What an onboarding came to. ``created`` is false where an earlier one had got as far as the state."""

    tenant: TenantName
    created: bool
    policy: TenantPolicy
    public_key_thumbprint: str
    event_id: str


async def onboard(
    tenancy: Tenancy,
    tenant: TenantId,
    policy: TenantPolicy | None = None,
    *,
    requested_by: str | None = None,
) -> Onboarded:
    """Create the tenant, or finish what an interrupted onboarding began.

    The keys come first: a state without a key would be a tenant that every handler refuses. Raises
    :class:`TenantFenced` for an id that was purged, which is never given out again, :class:`KeyDestroyed` when a
    tenant has lost its key, and :class:`Refused` when the tenant exists with another policy, or
    the policy contradicts itself.
    """
    wanted = policy or TenantPolicy()
    require_consistent(wanted)
    try:
        require_active((await tenancy.states.read(tenant)).state)
        keys = await tenancy.keys.open(tenant)
    except UnknownTenant:
        keys = await tenancy.keys.create(tenant)
    state = TenantState(tenant=tenant, nonce=random_nonce(), policy=wanted)
    found = (await tenancy.states.create(state)).state
    if found.status != "active":
        # A purge came in between; the key that was just made may not outlive it.
        await tenancy.keys.destroy(tenant)
        raise TenantFenced
    if found.policy != wanted:
        raise Refused("tenant-exists", "refused: this tenant is onboarded already, with another policy")
    thumbprint = keys.thumbprint()
    onboarded = TenantOnboarded(policy=found.policy, public_key_thumbprint=thumbprint, requested_by=requested_by)
    event = await tenancy.outbox.publish(tenant, onboarded)
    return Onboarded(
        tenant=tenant,
        created=found.nonce == state.nonce,
        policy=found.policy,
        public_key_thumbprint=thumbprint,
        event_id=event.id,
    )
