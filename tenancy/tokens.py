"""Issues and verifies API tokens: JWTs (RFC 7519), EdDSA only, whose subject is the tenant."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import serialization
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from tenancy.errors import Refused
from tenancy.evidence.signing import Signer, Verifier
from tenancy.platform.clock import Clock, utc_now
from tenancy.tenant_id import TenantId

ISSUER = "sanolith"
AUDIENCE = "sanolith-inference"
ALGORITHM = "Ed25519"
MAX_LIFETIME = timedelta(days=365)
LEEWAY_SECONDS = 60
"""So far ahead of ours may the clock be that said when a token begins."""
LATEST = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())
"""A later time is none that anybody meant."""


class BadToken(Refused):
    def __init__(self) -> None:
        super().__init__(
            "bad-token", "refused: the bearer token is missing, malformed, expired or not of this installation"
        )


@dataclass(frozen=True)
class TokenIssuer:
    """Issues tokens with the installation's signing key."""

    signer: Signer
    clock: Clock = utc_now

    def issue(self, tenant: TenantId, lifetime: timedelta = timedelta(days=30)) -> str:
        """A token for ``tenant``. Raises :class:`Refused` for a lifetime over a year."""
        if not timedelta(0) < lifetime <= MAX_LIFETIME:
            raise Refused("bad-lifetime", f"refused: a token lives up to {MAX_LIFETIME.days} days")
        now = self.clock()
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(tenant),
            "iat": _epoch(now),
            "exp": _epoch(now + lifetime),
            "jti": secrets.token_hex(8),
        }
        pem = self.signer.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return jwt.encode({"alg": ALGORITHM}, claims, OKPKey.import_key(pem), algorithms=[ALGORITHM])


@dataclass(frozen=True)
class TokenVerifier:
    """Turns a bearer token into a tenant. The algorithm is pinned: ``none`` and key confusion do not parse."""

    verifier: Verifier
    clock: Clock = utc_now
    _key: OKPKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pem = self.verifier.public_key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        object.__setattr__(self, "_key", OKPKey.import_key(pem))

    def tenant(self, token: str) -> TenantId:
        """Raises :class:`BadToken`, always with the same words."""
        try:
            claims = jwt.decode(token, self._key, algorithms=[ALGORITHM]).claims
            if claims["iss"] != ISSUER or claims["aud"] != AUDIENCE or not _is_valid_now(claims, self.clock()):
                raise BadToken
            return TenantId(str(claims["sub"]))
        except (JoseError, KeyError, ValueError, TypeError, Refused):
            raise BadToken from None


def _is_valid_now(claims: Mapping[str, Any], now: datetime) -> bool:
    """RFC 7519, 4.1.4 to 4.1.6: issued, begun and not expired. ``nbf`` may be absent."""
    issued, expires = _numeric_date(claims["iat"]), _numeric_date(claims["exp"])
    begins = _numeric_date(claims["nbf"]) if "nbf" in claims else issued
    return max(issued, begins) <= _epoch(now) + LEEWAY_SECONDS and _epoch(now) < expires


def _numeric_date(claim: Any) -> float:
    """Seconds since 1970. Raises :class:`ValueError`: JSON as Python reads it has infinities and NaNs too."""
    if isinstance(claim, bool) or not isinstance(claim, int | float) or not 0 <= claim <= LATEST:
        raise ValueError("no NumericDate")
    return claim


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp())
