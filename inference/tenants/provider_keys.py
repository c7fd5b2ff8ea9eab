"""Fetches the public keys of an identity provider: its discovery document, then its JSON Web Key Set (RFC 7517).

What comes is a stranger's: no redirect is followed, and bytes, seconds and keys are bounded before anything is parsed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Literal

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from schemas.base.addresses import is_loopback, is_provider_address
from schemas.base.json_text import parse_json
from tenancy.errors import Refused
from tenancy.platform.http_bodies import PLAIN, bounded_answer

FETCH_SECONDS = 5.0
"""For both documents together."""
MAX_BYTES = 262_144
MAX_KEYS = 64
RSA_BITS = range(2048, 8193)
"""Fewer are too weak; more would make each check of a signature slow."""
RSA_EXPONENT_BITS = 32
"""Usual are 17. A check of a signature takes a hundred times as long with an exponent as long as its key."""

ProviderKey = RSAKey | ECKey | OKPKey
_PUBLIC: Mapping[str, tuple[str, ...]] = {
    "RSA": ("kty", "n", "e"),
    "EC": ("kty", "crv", "x", "y"),
    "OKP": ("kty", "crv", "x"),
}
_KINDS: Mapping[str, type[ProviderKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
ALGORITHMS: Mapping[str, tuple[str, ...]] = {"RSA": ("RS256",), "EC": ("ES256",), "OKP": ("EdDSA", "Ed25519")}
"""By the key's type, so that no token chooses how its signature is checked."""
_CURVES = {"EC": "P-256", "OKP": "Ed25519"}

Reason = Literal["provider-unreachable", "provider-misanswered"]


class KeysUnavailable(Refused):
    """The provider's keys cannot be had now. ``code`` says why, for operators."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason, "refused: the identity provider's keys cannot be fetched")


def new_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        follow_redirects=False,
        timeout=FETCH_SECONDS,
        headers={"Accept": "application/json", **PLAIN},
    )


async def fetched_keys(issuer: str, client: Callable[[], httpx.AsyncClient] = new_client) -> Mapping[str, ProviderKey]:
    """The issuer's keys for signatures, by ``kid``; those of other kinds and uses are left out.

    Raises :class:`KeysUnavailable`.
    """
    if not is_provider_address(issuer):
        raise KeysUnavailable("provider-misanswered")
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            # Made in a thread: to read the system's certificates takes tens of milliseconds.
            async with await asyncio.to_thread(client) as asking:
                discovered = await _document(asking, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
                address = discovered.get("jwks_uri")
                if discovered.get("issuer") != issuer or not _may_be_asked(address, issuer):
                    raise KeysUnavailable("provider-misanswered")
                return await asyncio.to_thread(_keys, await _document(asking, str(address)))
    except (TimeoutError, httpx.HTTPError, OSError):
        raise KeysUnavailable("provider-unreachable") from None
    except (ValueError, httpx.InvalidURL, httpx.StreamError):
        raise KeysUnavailable("provider-misanswered") from None


def _may_be_asked(address: object, issuer: str) -> bool:
    """A provider elsewhere does not send a replica to the replica's own machine."""
    if not isinstance(address, str) or not is_provider_address(address):
        return False
    return not is_loopback(address) or is_loopback(issuer)


async def _document(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """Raises :class:`ValueError` for what is no JSON object of at most :data:`MAX_BYTES`."""
    async with client.stream("GET", url) as answer:
        if answer.status_code != 200:
            raise ValueError("no answer")
        received = await bounded_answer(answer, MAX_BYTES)
    document = await asyncio.to_thread(parse_json, received)
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    return document


def _keys(document: Mapping[str, Any]) -> dict[str, ProviderKey]:
    given = document.get("keys")
    if not isinstance(given, list) or len(given) > MAX_KEYS:
        raise ValueError("no key set, or one too large")
    found = [(each.get("kid"), _key(each)) for each in given if isinstance(each, dict)]
    return {kid: key for kid, key in found if isinstance(kid, str) and key is not None}


def _key(given: Mapping[str, Any]) -> ProviderKey | None:
    """The public key, if it is one of ours for signatures."""
    kind = given.get("kty")
    if not isinstance(kind, str) or kind not in _KINDS or given.get("crv") != _CURVES.get(kind):
        return None
    if given.get("use", "sig") != "sig" or given.get("alg", ALGORITHMS[kind][0]) not in ALGORITHMS[kind]:
        return None
    try:
        key = _KINDS[kind].import_key({name: given[name] for name in _PUBLIC[kind]})
        return None if isinstance(key, RSAKey) and not _is_fit(key) else key
    except (JoseError, KeyError, ValueError, TypeError):
        return None


def _is_fit(key: RSAKey) -> bool:
    exponent = key.public_key.public_numbers().e
    return key.public_key.key_size in RSA_BITS and exponent.bit_length() <= RSA_EXPONENT_BITS
