"""Sets, shows and removes a tenant's identity provider for operators: one swap of its state, without any event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from producers.commands.audited import entered
from schemas.base.canonical import sha256_hex
from schemas.bus.envelope import event_id
from schemas.evidence.audit import Actor
from schemas.objects.state import TenantState
from schemas.tenant.api_keys import Scope
from schemas.tenant.identity_provider import IdentityProvider
from tenancy.audit.log import AuditRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.state.identity_providers import provider_in, provider_removed, provider_set
from tenancy.tenant_id import TenantId

SET, REMOVED = "identity_provider.set", "identity_provider.removed"


async def set_provider(
    tenancy: Tenancy,
    tenant: TenantId,
    *,
    issuer: str,
    audience: str,
    required_claims: Mapping[str, str],
    scopes: Iterable[Scope],
    set_by: str,
) -> IdentityProvider:
    """Set it, in the place of another. Again with the same values is no change, and finishes an interrupted command.

    Raises :class:`UnknownTenant`, :class:`TenantFenced`, and :class:`Refused` for a bad issuer, audience or claim.
    """
    try:
        provider = IdentityProvider(
            issuer=issuer,
            audience=audience,
            required_claims=dict(required_claims),
            scopes=tuple(sorted(set(scopes))),
            set_at=tenancy.clock(),
            set_by=set_by,
        )
    except ValidationError:
        why = "refused: names and values of claims and the audience are printable, without blanks, at most 8 claims"
        raise Refused("bad-identity-provider", why) from None
    state = (await tenancy.states.swap(tenant, provider_set(provider))).state
    provider = provider_in(state)
    await _entered(tenancy, tenant, SET, provider, set_by, state)
    return provider


async def provider_of(tenancy: Tenancy, tenant: TenantId) -> IdentityProvider:
    """The tenant's. Raises :class:`UnknownTenant`, and :class:`Refused` where it has none."""
    return provider_in((await tenancy.states.read(tenant)).state)


async def remove_provider(tenancy: Tenancy, tenant: TenantId, *, removed_by: str) -> IdentityProvider:
    """Remove it. Every replica refuses its tokens once its cached state has expired. Raises as :func:`provider_of`."""
    removed = await provider_of(tenancy, tenant)
    state = (await tenancy.states.swap(tenant, provider_removed)).state
    await _entered(tenancy, tenant, REMOVED, removed, removed_by, state)
    return removed


async def _entered(
    tenancy: Tenancy, tenant: TenantId, kind: str, provider: IdentityProvider, by: str, state: TenantState
) -> None:
    """The log has digests of what comes from outside: a claim's value may be anything."""
    said = provider.model_dump(mode="json", include={"issuer", "audience", "required_claims"})
    record = AuditRecord(
        occurrence=event_id(kind, tenant, provider.set_at.isoformat()),
        kind=kind,
        time=tenancy.clock(),
        actor=Actor(role="operator", id=by),
        facts={"provider_sha256": sha256_hex(said), "scopes": "+".join(provider.scopes)},
        recorded_while=state.status,
    )
    await entered(tenancy, tenant, record, f"the identity provider is {kind.partition('.')[2]}")
