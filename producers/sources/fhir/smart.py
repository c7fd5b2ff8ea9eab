"""Authorizes reads as a backend service (SMART App Launch 2.x, private_key_jwt): a signed assertion for a token."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from producers.sources.fhir.answers import json_answer
from schemas.base.json_text import parse_json
from tenancy.errors import Refused, Transient

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 240
RENEWED_BEFORE_SECONDS = 30.0
Key = ECKey | RSAKey


class NotAuthorized(Transient):
    """The server's authorization refuses us, for now: an operator may have to register the key."""


def read_client_key(path: Path) -> Key:
    """The private JWK in a file: an EC key of P-384, or RSA, with its kid. Raises :class:`Refused`."""
    why = "it is a private JWK with a kid: EC of P-384, or RSA"
    try:
        said = parse_json(path.read_text())
        key: Key = ECKey.import_key(said) if said["kty"] == "EC" else RSAKey.import_key(said)
    except (OSError, ValueError, TypeError, KeyError, JoseError):
        raise Refused("bad-client-key", f"refused: {path} holds no key of a backend service; {why}") from None
    if not key.is_private or not key.kid or (isinstance(key, ECKey) and key.curve_name != "P-384"):
        raise Refused("bad-client-key", f"refused: {path} holds no key of a backend service; {why}")
    return key


@dataclass
class BackendService:
    """Tokens for one server, each used until shortly before it ends."""

    client: httpx.AsyncClient
    base_url: str
    client_id: str
    key: Key = field(repr=False)
    scope: str
    token_url: str | None = None
    now: Callable[[], float] = time.time
    _token: str = field(default="", repr=False)
    _good_until: float = 0.0
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def token(self, refused: str = "") -> str:
        """A token; another than ``refused``, which the server did not take. Raises :class:`Transient`."""
        async with self._asking:
            if not self._token or self._token == refused or self.now() >= self._good_until:
                await self._ask()
            return self._token

    async def _ask(self) -> None:
        url = self.token_url or await self._discovered()
        form = {
            "grant_type": "client_credentials",
            "scope": self.scope,
            "client_assertion_type": ASSERTION,
            "client_assertion": self._assertion(url),
        }
        status, answer = await json_answer(self.client, "POST", url, data=form)
        token = answer.get("access_token") if isinstance(answer, dict) else None
        seconds = answer.get("expires_in", 300) if isinstance(answer, dict) else None
        if status != 200 or not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise NotAuthorized(f"the server's authorization gave no token (status {status})")
        lasting = float(seconds) if isinstance(seconds, int | float) and not isinstance(seconds, bool) else 300.0
        self._token, self._good_until = token, self.now() + max(0.0, lasting - RENEWED_BEFORE_SECONDS)

    def _assertion(self, audience: str) -> str:
        algorithm = "ES384" if isinstance(self.key, ECKey) else "RS384"
        issued = int(self.now())
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": audience,
            "iat": issued,
            "exp": issued + ASSERTION_SECONDS,
            "jti": str(uuid.uuid4()),
        }
        header = {"alg": algorithm, "kid": self.key.kid, "typ": "JWT"}
        return jwt.encode(header, claims, self.key, algorithms=[algorithm])

    async def _discovered(self) -> str:
        status, answer = await json_answer(self.client, "GET", f"{self.base_url}/.well-known/smart-configuration")
        found = answer.get("token_endpoint") if isinstance(answer, dict) else None
        if status != 200 or not isinstance(found, str) or not found.startswith(("https://", "http://")):
            raise NotAuthorized(f"the server does not say where its tokens are (status {status})")
        self.token_url = found
        return found
