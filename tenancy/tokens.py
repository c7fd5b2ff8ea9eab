"""API tokens: short JWTs (RFC 7519), EdDSA only, whose subject is the tenant."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

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
            now = _epoch(self.clock())
            ours = claims["iss"] == ISSUER and claims["aud"] == AUDIENCE
            if not ours or not int(claims["iat"]) <= now + 60 or not now < int(claims["exp"]):
                raise BadToken
            return TenantId(str(claims["sub"]))
        except (JoseError, KeyError, ValueError, TypeError, Refused):
            raise BadToken from None


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp())
