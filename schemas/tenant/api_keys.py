"""Defines a tenant's API keys as they lie in its state: names, scopes and hashes, never a key itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, Sha256Hex
from schemas.base.timestamps import Timestamp

MAX_KEYS = 64
"""Of a tenant. They lie in its state, which is read for every second of its requests."""

Scope = Literal["chat", "embeddings", "knowledge"]
SCOPES: tuple[Scope, ...] = ("chat", "embeddings", "knowledge")
KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


class ApiKey(Contract):
    """One key. It has 256 random bits, so that no hash function makes it harder to guess than SHA-256."""

    key_id: KeyId
    name: OpaqueId = Field(description="what the operator calls it: the application, never a person")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    secret_sha256: Sha256Hex
    created_at: Timestamp
    expires_at: Timestamp
    created_by: OpaqueId | None = Field(default=None, description="operator id")
