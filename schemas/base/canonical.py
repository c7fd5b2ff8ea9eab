"""Computes canonical JSON (RFC 8785), and digests and commitments over it."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import rfc8785

ADAPTER_DOMAIN = "sanolith.adapter.v1"
TRAINING_SET_DOMAIN = "sanolith.training-set.v1"


def canonical_json(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value. Raises :class:`rfc8785.CanonicalizationError` for what JSON cannot hold."""
    return bytes(rfc8785.dumps(value))


def sha256_hex(value: Any) -> str:
    """Lower-case hex SHA-256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def commitment(salt: bytes, value: Any) -> str:
    """HMAC-SHA256 (RFC 2104) of the canonical JSON of ``value`` under its own salt.

    A plain hash of a short text is brute-forced in seconds. The salt is stored sealed in the tenant's prefix and dies
    with the tenant's key, after which the commitment can no longer be linked to content.
    """
    if len(salt) < 32:
        raise ValueError(f"a commitment needs a salt of at least 32 bytes, not {len(salt)}")
    return hmac.new(salt, canonical_json(value), hashlib.sha256).hexdigest()


def adapter_digest(*, tenant: str, base_model_digest: str, config_sha256: str, weights_sha256: str) -> str:
    """The adapter's id, object key, local directory and name inside the engine (DESIGN, invariant 2)."""
    return sha256_hex(
        {
            "domain": ADAPTER_DOMAIN,
            "tenant": tenant,
            "base_model_digest": base_model_digest,
            "config_sha256": config_sha256,
            "weights_sha256": weights_sha256,
        }
    )
