"""Changes a tenant's policy, and publishes that it changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.base.contract import Contract
from schemas.base.identifiers import TenantName
from schemas.base.integers import Version
from schemas.objects.state import TenantState
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.knowledge.database.settings import DatabaseSettings, no_database
from tenancy.state.policy_changes import policy_changed, policy_set
from tenancy.tenant_id import TenantId


class PolicyView(Contract):
    """A tenant's policy as it is in force. ``changed`` is whether this command made it so."""

    tenant: TenantName
    version: Version
    changed: bool = False
    policy: TenantPolicy


async def policy_of(tenancy: Tenancy, tenant: TenantId) -> PolicyView:
    """The policy in force; of a purged tenant, the last one. Raises :class:`UnknownTenant`."""
    state = (await tenancy.states.read(tenant)).state
    return PolicyView(tenant=tenant, version=state.policy_version, policy=state.policy)


def require_database(policy: Mapping[str, Any], settings: DatabaseSettings) -> None:
    """Raises :class:`Refused` where a policy's index belongs in a database that the installation does not have."""
    if policy.get("knowledge_index") == "postgres" and settings.knowledge_database_url is None:
        raise no_database()


async def set_policy(
    tenancy: Tenancy, tenant: TenantId, changes: Mapping[str, Any], *, requested_by: str | None = None
) -> PolicyView:
    """Change these fields by one swap of the state, then publish it. Again with the same values is no change, and
    publishes the same event: an interrupted command is finished so, or by the next one, before it changes anything.
    Else a version that decisions were made by would be in no log.

    The event goes past the outbox, which every consumer publishes from: none of them may write to the topic of purges.
    Raises :class:`Refused` for fields and values that no policy has, :class:`TenantFenced` and :class:`UnknownTenant`.
    """
    change, changed = policy_set(changes, requested_by), False
    before = await tenancy.states.read(tenant)
    replaced = before.state

    def noted(state: TenantState) -> TenantState:
        nonlocal changed, replaced
        after, replaced = change(state), state
        changed = after is not state
        return after

    change(before.state)  # refuses, if it does, before anything is published
    await _publish(tenancy, before.state)
    state = (await tenancy.states.swap(tenant, noted, base=before)).state
    if replaced.policy_version > before.state.policy_version:
        await _publish(tenancy, replaced)  # who made that version meanwhile may have ended before it said so
    if changed:
        await _publish(tenancy, state)
    return PolicyView(tenant=tenant, version=state.policy_version, changed=changed, policy=state.policy)


async def _publish(tenancy: Tenancy, state: TenantState) -> None:
    if (event := policy_changed(state)) is not None:
        await tenancy.outbox.publish(TenantId(state.tenant), event)
