"""Issues and verifies API tokens: JWTs (RFC 7519) by a key for tokens, whose subject is the tenant."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.base.canonical import canonical_json
from schemas.base.json_text import parse_json
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import TrustedKey
from tenancy.errors import Refused
from tenancy.evidence.jws import Jws, compact_jws
from tenancy.evidence.signer import Signer
from tenancy.evidence.trust import Trust
from tenancy.platform.clock import Clock, utc_now
from tenancy.platform.recent_set import RecentSet
from tenancy.tenant_id import TenantId

ISSUER = "sanolith"
AUDIENCE = "sanolith-inference"
TYPE = "JWT"
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
    """Issues tokens with a key for tokens, whose id is in the header."""

    signer: Signer
    clock: Clock = utc_now

    def issue(
        self,
        tenant: TenantId,
        lifetime: timedelta = timedelta(days=30),
        audience: str = AUDIENCE,
        more: Mapping[str, str] | None = None,
    ) -> str:
        """A token for ``tenant``, with these claims besides. Raises :class:`Refused` for a lifetime over a year."""
        if not timedelta(0) < lifetime <= MAX_LIFETIME:
            raise Refused("bad-lifetime", f"refused: a token lives up to {MAX_LIFETIME.days} days")
        now = self.clock()
        claims = {
            **(more or {}),
            "iss": ISSUER,
            "aud": audience,
            "sub": str(tenant),
            "iat": _epoch(now),
            "exp": _epoch(now + lifetime),
            "jti": secrets.token_hex(8),
        }
        return compact_jws(self.signer.key, TYPE, canonical_json(claims))


@dataclass(frozen=True)
class TokenVerifier:
    """Turns a bearer token into a tenant. The algorithm is the key's: ``none`` and key confusion do not parse.

    A caller presents one token many times, and its signature takes longer to check than all else about it: digests of
    tokens whose signature was right are remembered. Whether key and token still count is asked each time.
    """

    trust: Trust
    clock: Clock = utc_now
    audience: str = AUDIENCE
    _signed: RecentSet[bytes] = field(default_factory=RecentSet, repr=False)

    def tenant(self, token: str) -> TenantId:
        """Raises :class:`BadToken`, always with the same words."""
        return TenantId(self.claims(token)["sub"])

    def claims(self, token: str) -> Mapping[str, Any]:
        """What a token for this audience claims; its subject is a tenant's id. Raises as :meth:`tenant`."""
        try:
            jws = Jws.parse(token)
            claims = parse_json(jws.payload)
            # Looked up by what is not verified yet, and then verified with the key that is found.
            issued = datetime.fromtimestamp(numeric_date(claims["iat"]), UTC)
            key = self.trust.key(str(jws.header["kid"]), Purpose.TOKEN, issued)
            if _is_over(key, self.clock()):
                raise BadToken
            self._require_signature(token, jws, key)
            if claims["iss"] != ISSUER or claims["aud"] != self.audience or not is_valid_now(claims, self.clock()):
                raise BadToken
            return {**claims, "sub": str(TenantId(str(claims["sub"])))}
        except (KeyError, ValueError, TypeError, OverflowError, Refused):
            raise BadToken from None

    def _require_signature(self, token: str, jws: Jws, key: TrustedKey) -> None:
        """Raises :class:`BadSignature`. The token names its key by a digest of that, so it is good by no other."""
        digest = hashlib.sha256(token.encode()).digest()
        if digest not in self._signed:
            jws.verify(TYPE, self.trust.parsed(key))
            self._signed.add(digest)


def _is_over(key: TrustedKey, now: datetime) -> bool:
    """Whether a key's tokens are refused whatever they say of when they were issued: they are presented now. Those of a
    revoked key, and of one that was replaced so long ago that every token which it signed in its time has expired.
    """
    return key.revoked_at is not None or (key.valid_until is not None and key.valid_until + MAX_LIFETIME < now)


def is_valid_now(claims: Mapping[str, Any], now: datetime) -> bool:
    """RFC 7519, 4.1.4 to 4.1.6: issued, begun and not expired. ``nbf`` may be absent."""
    issued, expires = numeric_date(claims["iat"]), numeric_date(claims["exp"])
    begins = numeric_date(claims["nbf"]) if "nbf" in claims else issued
    return max(issued, begins) <= _epoch(now) + LEEWAY_SECONDS and _epoch(now) < expires


def numeric_date(claim: Any) -> float:
    """Seconds since 1970. Raises :class:`ValueError`: JSON as Python reads it has infinities and NaNs too."""
    if isinstance(claim, bool) or not isinstance(claim, int | float) or not 0 <= claim <= LATEST:
        raise ValueError("no NumericDate")
    return claim


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp())
