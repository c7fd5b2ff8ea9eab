"""Creates, revokes and verifies API keys: pure changes of the tenant's state, and the text of a key.

A key is ``sano_<tenant>_<key id>_<secret>``. It is in the state by the hash of its secret, so a key is valid on every
replica from the swap on, and no longer than a cached state after the swap that revokes it. The fence empties the list.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

from schemas.objects.state import TenantState
from schemas.tenant.api_keys import MAX_KEYS, ApiKey
from tenancy.errors import Refused
from tenancy.state.registry import Change, require_active
from tenancy.tenant_id import TenantId

PREFIX = "sano_"
_KEY = re.compile(r"sano_([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)_([0-9a-f]{16})_([0-9a-f]{64})")
_NOBODYS = "0" * 64
"""The hash that is compared with where a tenant has no such key."""


@dataclass(frozen=True)
class GivenKey:
    """A key as a caller gives it. Nothing of it is verified."""

    tenant: TenantId
    key_id: str
    secret: str

    @classmethod
    def parse(cls, text: str) -> GivenKey | None:
        """None for what does not have a key's shape."""
        found = _KEY.fullmatch(text)
        return None if found is None else cls(TenantId(found[1]), found[2], found[3])

    @classmethod
    def random(cls, tenant: TenantId) -> GivenKey:
        return cls(tenant, secrets.token_hex(8), secrets.token_hex(32))

    def __repr__(self) -> str:
        return f"GivenKey({self.key_id})"  # a traceback shows no secret

    @property
    def text(self) -> str:
        return f"{PREFIX}{self.tenant}_{self.key_id}_{self.secret}"

    @property
    def secret_sha256(self) -> str:
        return hashlib.sha256(self.secret.encode()).hexdigest()


def created(key: ApiKey, at: datetime) -> Change:
    """Add the key, and drop those that have expired. The change raises :class:`TenantFenced` and :class:`Refused`."""

    def change(state: TenantState) -> TenantState:
        require_active(state)
        alive = tuple(known for known in state.api_keys if known.expires_at > at)
        if any(known.name == key.name for known in alive):
            raise Refused("key-exists", "refused: the tenant has a key of this name; revoke it, or choose another name")
        if len(alive) >= MAX_KEYS:
            raise Refused("too-many-keys", f"refused: a tenant has at most {MAX_KEYS} keys; revoke one")
        return state.evolve(api_keys=(*alive, key))

    return change


def revoked(key_id: str) -> Change:
    """Remove the key. The change raises :class:`Refused` where there is none."""

    def change(state: TenantState) -> TenantState:
        left = tuple(known for known in state.api_keys if known.key_id != key_id)
        if len(left) == len(state.api_keys):
            raise Refused("unknown-key", "refused: the tenant has no key of this id; `sano tenant key list` lists them")
        return state.evolve(api_keys=left)

    return change


def verified(given: GivenKey, state: TenantState | None, now: datetime) -> ApiKey | None:
    """The key, if it is the tenant's and has not expired; None otherwise.

    ``state`` is None where there is no such tenant: the comparison is made all the same, in the same time.
    """
    keys = {key.key_id: key for key in state.api_keys} if state is not None else {}
    known = keys.get(given.key_id)
    is_right = hmac.compare_digest(given.secret_sha256, known.secret_sha256 if known is not None else _NOBODYS)
    return known if known is not None and is_right and now < known.expires_at else None
