"""Signs people in by OpenID Connect: authorization code with PKCE, through Authlib.

The identity provider says who it is, as which role and of which tenant, in claims of the ID token. A person's id is
made of issuer and subject under the source key: the same at each sign-in, and no name. Another claim may say how the
record system names the same person, who then does not review what they wrote there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import OAuth, StarletteOAuth2App
from httpx2 import HTTPError  # Authlib's client where it is installed
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response

from producers.review_page.people import Person, role_of
from producers.sources.fhir.resources import NAME, relative
from producers.sources.source_key import SourceKey
from schemas.base.identifiers import OpaqueId
from tenancy.errors import Refused, Transient
from tenancy.tenant_id import TenantId

CALLBACK = "/sign-in/callback"
TIMEOUT_SECONDS = 10.0
MOST_NAMES = 8
"""Limits how many names a person has in record systems: the session's cookie carries an id for each."""


class NotLetIn(Refused):
    """The identity provider did not vouch for somebody with one role at one tenant."""

    def __init__(self) -> None:
        super().__init__("not-let-in", "refused: your account is not set up for this page; ask who administers it")


class ProviderUnavailable(Transient):
    def __init__(self) -> None:
        super().__init__("the identity provider does not answer")


@dataclass(frozen=True)
class IdentityProvider:
    """``issuer`` publishes its discovery document below itself. ``url`` is the page's address."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    tenant_claim: str
    role_claim: str
    url: str
    key: SourceKey = field(repr=False)
    author_claim: str = "fhirUser"
    scope: str = "openid"

    def _client(self) -> StarletteOAuth2App:
        """A new one for each use: what it read of the provider's keys is never older than the request."""
        return OAuth().register(
            "provider",
            server_metadata_url=f"{self.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_id=self.client_id,
            client_secret=self.client_secret,
            client_kwargs={"scope": self.scope, "code_challenge_method": "S256", "timeout": TIMEOUT_SECONDS},
        )

    async def redirect(self, request: Request) -> Response:
        """Send the browser to the provider; state, nonce and verifier stay in its session here."""
        request.session.clear()
        try:
            answer: Response = await self._client().authorize_redirect(request, f"{self.url.rstrip('/')}{CALLBACK}")
        except (HTTPError, ValueError, RuntimeError):
            raise ProviderUnavailable from None
        return answer

    async def person(self, request: Request) -> Person:
        """Who came back. Raises :class:`NotLetIn`, always with the same words, and :class:`ProviderUnavailable`."""
        try:
            token = await self._client().authorize_access_token(
                request, claims_options={"iss": {"essential": True, "value": self.issuer}}
            )
        except HTTPError:
            raise ProviderUnavailable from None
        except (OAuthError, JoseError, ValueError, KeyError, TypeError, RuntimeError):
            raise NotLetIn from None
        return self.person_of(token.get("userinfo") or {})

    def person_of(self, claims: Mapping[str, Any]) -> Person:
        """The claims of a verified ID token as a person. Raises :class:`NotLetIn`."""
        try:
            tenant, role, subject = claims[self.tenant_claim], claims[self.role_claim], claims["sub"]
            if not all(isinstance(claim, str) and claim for claim in (tenant, subject)):
                raise NotLetIn
            [role] = [role] if isinstance(role, str) else role
            identity = f"{self.issuer}|{subject}"
            return Person(
                TenantId(tenant),
                self.key.opaque_id("rev", tenant, identity),
                role_of(role),
                self._authored_as(TenantId(tenant), claims.get(self.author_claim)),
            )
        except (KeyError, TypeError, ValueError, Refused):
            raise NotLetIn from None

    def _authored_as(self, tenant: TenantId, said: Any) -> tuple[OpaqueId, ...]:
        """The author's ids that FHIR and HL7 make of these names under the same key. Raises :class:`NotLetIn`."""
        names = [] if said is None else [said] if isinstance(said, str) else said
        if not isinstance(names, list) or len(names) > MOST_NAMES or not all(isinstance(name, str) for name in names):
            raise NotLetIn
        known = [relative(name.strip().rstrip("/")) for name in names]
        if not all(known) or any("/" in name and NAME.fullmatch(name) is None for name in known):
            raise NotLetIn  # nobody would be known again by it
        return tuple(self.key.opaque_id("author", tenant, name) for name in known)
