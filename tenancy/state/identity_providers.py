"""Sets and removes a tenant's identity provider: pure changes of its state. The fence removes it.

An audience names its tenant, so a token leads to one tenant at most, and no second one can claim the same issuer and
audience: there is no index that could be wrong, raced for or left behind.
"""

from __future__ import annotations

from schemas.base.addresses import is_provider_address
from schemas.objects.state import TenantState
from schemas.tenant.identity_provider import IdentityProvider, tenant_of
from tenancy.errors import Refused
from tenancy.state.registry import Change, require_active


def provider_set(provider: IdentityProvider) -> Change:
    """Take this provider's tokens from now on, and no other's; no change where it is so already.

    The change raises :class:`TenantFenced`, and :class:`Refused` for an issuer that no replica may ask and for an
    audience that is not of this tenant.
    """

    def change(state: TenantState) -> TenantState:
        require_active(state)
        if not is_provider_address(provider.issuer):
            raise Refused(
                "bad-issuer",
                "refused: an issuer is an https URL with a host's name, without password, query and fragment;"
                " http is for this machine only",
            )
        if tenant_of(provider.audience) != state.tenant:
            raise Refused(
                "bad-audience",
                "refused: the audience ends in sanolith: or sanolith/ and the tenant's id, so that it is of no other"
                " tenant",
            )
        known = state.identity_provider
        if known is not None and provider.evolve(set_at=known.set_at, set_by=known.set_by) == known:
            return state
        return state.evolve(identity_provider=provider)

    return change


def provider_in(state: TenantState) -> IdentityProvider:
    """The tenant's. Raises :class:`Refused` where it has none."""
    if state.identity_provider is None:
        raise Refused("no-identity-provider", "refused: the tenant has no identity provider")
    return state.identity_provider


def provider_removed(state: TenantState) -> TenantState:
    """Take the installation's own tokens and API keys only. Raises as :func:`provider_in`."""
    provider_in(state)
    return state.evolve(identity_provider=None)
