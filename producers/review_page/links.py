"""Signs people in by one-time links, for trying the page out without an identity provider.

A link is a token by the operators' token key, for this page only and for minutes. It is in the fragment of the address,
which browsers do not send, so no log and no proxy sees it. It works once, at whichever process of the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from producers.review_page.people import Person, Role, role_of
from schemas.base.identifiers import OpaqueId
from tenancy.errors import Refused
from tenancy.evidence.signer import Signer
from tenancy.state.spent import Spent
from tenancy.tenant_id import TenantId
from tenancy.tokens import TokenIssuer, TokenVerifier

AUDIENCE = "sanolith-review"
LONGEST = timedelta(minutes=60)


class BadLink(Refused):
    def __init__(self) -> None:
        super().__init__("bad-link", "refused: this link was used, is over, or is none; ask for a new one")


def one_time_link(
    signer: Signer, review_url: str, tenant: TenantId, role: Role, person: OpaqueId, lifetime: timedelta
) -> str:
    """The address that signs this person in, once. Raises :class:`Refused` for a lifetime over an hour."""
    if lifetime > LONGEST:
        raise Refused("bad-lifetime", "refused: a link lives up to 60 minutes")
    token = TokenIssuer(signer).issue(tenant, lifetime, AUDIENCE, {"role": role, "person": person})
    return f"{review_url.rstrip('/')}/sign-in/link#{token}"


@dataclass(frozen=True)
class Links:
    """Takes each link once. ``verifier`` is for :data:`AUDIENCE`."""

    verifier: TokenVerifier

    async def take(self, token: str, spent: Spent) -> Person:
        """Who the link is for. Raises :class:`BadLink`, always with the same words."""
        try:
            claims = self.verifier.claims(token)
            link_id, ends = str(claims["jti"]), int(claims["exp"])
            person = Person(TenantId(claims["sub"]), str(claims["person"]), role_of(claims["role"]))
        except (KeyError, Refused):
            raise BadLink from None
        if not await spent.spend(link_id, ends):
            raise BadLink
        return person
