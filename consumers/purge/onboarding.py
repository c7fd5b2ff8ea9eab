"""Creates a missing tenant's state from the event that says that the tenant was onboarded.

Onboarding makes keys and state before it publishes, so that in the installation where it happened there is nothing to
do. In an empty one, into which a history is replayed, this event is where the tenant begins. It is handled here, in
the group that handles purges: the topic's order then holds, and no purge is looked at before the tenant that it ends.
"""

from __future__ import annotations

from consumers.purge.handlers import PurgePorts
from schemas.bus.envelope import Event
from schemas.bus.events import TenantOnboarded
from schemas.bus.outcome import Outcome
from schemas.objects.state import TenantState
from tenancy.errors import KeyDestroyed, Refused, UnknownTenant
from tenancy.platform.clock import random_nonce
from tenancy.state.registry import require_active
from tenancy.tenant_id import TenantId


async def on_tenant_onboarded(event: Event[TenantOnboarded], ports: PurgePorts) -> Outcome:
    """Create the state, if there is none and the tenant's key is there; one conditional write.

    A purge destroys the key and keeps the state, so a purged tenant is refused twice over. The key must be the one
    that the event names: with another, what was sealed for the tenant would not open. Raises :class:`UnknownTenant`
    where there is neither state nor key.
    """
    data = event.data
    tenancy, tenant = ports.tenancy, TenantId(event.subject)
    try:
        await tenancy.active(tenant)
        return Outcome.NOOP_DUPLICATE
    except UnknownTenant:
        try:
            keys = await tenancy.keys.open(tenant)
        except KeyDestroyed:
            raise UnknownTenant from None  # without a state to say that it was purged, nobody knows it
    if keys.thumbprint() != data.public_key_thumbprint:
        raise Refused("foreign-key", "refused: the tenant's key is not the one that it was onboarded with")
    state = TenantState(tenant=tenant, nonce=random_nonce(), policy=data.policy)
    found = require_active((await tenancy.states.create(state)).state)
    return Outcome.EFFECT if found.nonce == state.nonce else Outcome.NOOP_DUPLICATE
