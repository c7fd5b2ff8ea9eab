"""Answers ``GET /tenants/{tenant}/jwks.json``: the public key that a publisher encrypts a tenant's content to.

Without a token, since publishers have none, and a public key is no secret. A tenant that is unknown, being purged or
purged is one and the same 404. Whoever publishes compares the key's thumbprint with the one that an operator gave.
"""

from __future__ import annotations

from typing import Any

from joserfc.jwk import OKPKey

from inference.errors import RequestRefused
from inference.tenants.admission import Looks
from inference.tenants.binding import TenantStateCache
from tenancy.errors import KeyDestroyed, Refused
from tenancy.storage.keys import JWE_HEADER
from tenancy.tenant_id import TenantId

MEDIA_TYPE = "application/jwk-set+json"


class PublicKeys:
    """Reads keys, and no master key: the private half stays sealed."""

    def __init__(self) -> None:
        self._looks = Looks()  # anybody may ask, and tenants' requests read from the store too

    async def jwks(self, views: TenantStateCache, name: str) -> dict[str, Any]:
        """RFC 7517, section 5. Raises :class:`RequestRefused` (404, 503)."""
        try:
            tenant = TenantId(name)
        except Refused:
            raise _unknown() from None
        async with self._looks.one():
            try:
                await views.active(tenant)
                public = await views.tenancy.keys.public_key(tenant)
            except (RequestRefused, KeyDestroyed):
                raise _unknown() from None
        key = OKPKey.import_key(dict(public))
        named = {**key.as_dict(private=False), "use": "enc", "alg": JWE_HEADER["alg"], "kid": key.thumbprint()}
        return {"keys": [named]}


def _unknown() -> RequestRefused:
    return RequestRefused(404, "tenant_not_found", "there is no such tenant")
