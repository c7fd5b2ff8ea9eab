"""Reads and verifies tokens of tenants' identity providers: JWTs (RFC 7519) as RFC 8725 wants them checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError

from inference.tenants.provider_keys import ALGORITHMS, ProviderKey
from schemas.base.addresses import is_provider_address
from schemas.base.json_text import parse_json
from schemas.tenant.identity_provider import IdentityProvider, tenant_of
from tenancy.errors import BadSignature
from tenancy.evidence.jws import Jws
from tenancy.tenant_id import TenantId
from tenancy.tokens import is_valid_now, numeric_date

MAX_CHARACTERS = 16_384
MAX_AUDIENCES = 16
LONGEST = timedelta(hours=24)
TYPES = (None, "JWT", "jwt", "at+jwt", "application/at+jwt")
"""Of tokens for an API. Tokens for something else, such as logging out, have another (RFC 8725, 3.11)."""
_SCOPES = ("scope", "scp")
"""Claims that hold words with blanks between them."""


class _Registry(jws.JWSRegistry):
    max_header_length = 4096


@dataclass(frozen=True)
class ProviderToken:
    """What a token says of itself, before any check. It only selects the keys that the token is checked with."""

    text: str
    issuer: str
    audience: str
    tenant: TenantId
    algorithm: str
    kid: str

    @classmethod
    def parse(cls, text: str) -> ProviderToken | None:
        """None for what is no token of an identity provider for one tenant of an installation."""
        if len(text) > MAX_CHARACTERS or text.count(".") != 2:
            return None
        try:
            jws = Jws.parse(text)
            header, claims = jws.header, parse_json(jws.payload)
            issuer = claims["iss"]
            if not isinstance(issuer, str) or not is_provider_address(issuer):
                return None
            named = [(each, tenant_of(each)) for each in _audiences(claims["aud"])]
            ((audience, tenant),) = [(each, TenantId(name)) for each, name in named if name is not None]
            algorithm, kid = header["alg"], header["kid"]
        except (BadSignature, KeyError, ValueError, TypeError):
            return None
        if not isinstance(algorithm, str) or not isinstance(kid, str) or header.get("typ") not in TYPES:
            return None
        return cls(text, issuer, audience, tenant, algorithm, kid)

    def __repr__(self) -> str:
        return "ProviderToken()"  # a traceback shows no token

    def is_for(self, provider: IdentityProvider) -> bool:
        """Whether it says that it is of this provider, for this audience."""
        return (self.issuer, self.audience) == (provider.issuer, provider.audience)

    def is_good(self, key: ProviderKey, provider: IdentityProvider, now: datetime) -> bool:
        """Whether the key signed it, it has begun and not ended, and it claims all that the provider's have to."""
        algorithms = ALGORITHMS[key.key_type]
        if self.algorithm not in algorithms:
            return False
        try:
            opened = jws.deserialize_compact(self.text, key, registry=_Registry(algorithms=algorithms))
            claims = parse_json(opened.payload)
            # What was signed says it again: nothing hangs on two readings of one text being alike.
            is_ours = claims["iss"] == provider.issuer and provider.audience in _audiences(claims["aud"])
            return is_ours and _is_timely(claims, now) and _has_all(claims, provider.required_claims)
        except (JoseError, KeyError, ValueError, TypeError, OverflowError):
            return False


def _audiences(claim: Any) -> list[str]:
    """RFC 7519, 4.1.3: a text or a list of texts. Raises :class:`ValueError`."""
    given = claim if isinstance(claim, list) else [claim]
    if len(given) > MAX_AUDIENCES or not all(isinstance(each, str) for each in given):
        raise ValueError("no audience")
    return given


def _is_timely(claims: Mapping[str, Any], now: datetime) -> bool:
    lifetime = numeric_date(claims["exp"]) - numeric_date(claims["iat"])
    return is_valid_now(claims, now) and lifetime <= LONGEST.total_seconds()


def _has_all(claims: Mapping[str, Any], required: Mapping[str, str]) -> bool:
    """Each is the value, a list with it, or of scopes one of the words."""
    for name, value in required.items():
        held = claims.get(name)
        if isinstance(held, str):
            held = held.split(" ") if name in _SCOPES else [held]
        if not isinstance(held, list) or value not in held:
            return False
    return True
