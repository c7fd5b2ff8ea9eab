"""Applies a changed policy of a tenant from its event.

The command swaps the state before it publishes, so that where it was given there is nothing to do. The event matters
where a history is replayed into an empty installation, and where another system keeps the contracts. It is handled in
the group that handles purges, for the order of their topic.
"""

from __future__ import annotations

import logging

from consumers.purge.handlers import PurgePorts
from schemas.bus.envelope import Event
from schemas.bus.events import PolicyChanged
from schemas.bus.outcome import Outcome
from tenancy.errors import Refused
from tenancy.platform.logs import SCOPE, trouble_logged
from tenancy.state.policy_changes import policy_taken_over, require_consistent
from tenancy.tenant_id import TenantId

logger = logging.getLogger(f"{SCOPE}.purge")


async def on_policy_changed(event: Event[PolicyChanged], ports: PurgePorts) -> Outcome:
    """Swap the policy in if its version is higher. Raises :class:`Refused` for two policies under one version."""
    data = event.data
    tenancy, tenant = ports.tenancy, TenantId(event.subject)
    base = await tenancy.active(tenant)
    require_consistent(data.policy)
    swapped = await tenancy.states.swap(tenant, policy_taken_over(data), base=base)
    # What fails is the next round's: a purge command may be behind this event.
    with trouble_logged(logger, "index not dropped"):
        await ports.driver.destruction.index.drop_unwanted([tenant])
    if swapped.etag != base.etag and swapped.state.policy_version == data.version:
        return Outcome.EFFECT
    if swapped.state.policy_version > data.version:
        return Outcome.NOOP_STALE
    if swapped.state.policy != data.policy:
        raise Refused("contradicted", "refused: this version of the tenant's policy says something else already")
    return Outcome.NOOP_DUPLICATE
