"""Makes ids of answers by which every replica knows, without a record, whose answer it was and which adapter gave it.

An id is a nonce and an HMAC of it and the adapter, under a key derived from the tenant's data key: of another tenant,
of another installation, made up, or of a tenant that was purged, it is nobody's. The nonce begins with the time, so
that an id is over after :data:`RATED_FOR`, and what was rated need not be remembered longer.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused, Transient
from tenancy.platform.clock import random_nonce
from tenancy.storage.derived_keys import TAG_DIGITS, derived_key, tag
from tenancy.storage.kept_keys import KeptKeys
from tenancy.storage.keys import TenantKeys
from tenancy.tenant_id import TenantId

OPEN_SECONDS = 2.0
"""So long an answer waits for its tenant's key, once in the life of a replica."""
RATED_FOR = timedelta(days=7)
"""So long after it was begun an answer can be rated."""
NONCE_DIGITS = 32
TIME_DIGITS = 8
"""Of the nonce: seconds since 1970, in hex. 96 random bits follow."""
_ID = re.compile(rf"(?:chatcmpl-|cmpl-|resp_)?([0-9a-f]{{{NONCE_DIGITS}}})([0-9a-f]{{{TAG_DIGITS}}})")


@dataclass(frozen=True)
class GivenAnswer:
    """An answer that can be rated until ``over_at``, in seconds since 1970."""

    adapter: str
    nonce: str
    over_at: int


@dataclass
class AnswerIds:
    """``require_admitted`` raises where a tenant is fenced, of which no key is kept then.

    An answer does not fail for want of its tenant's key: while the master key does not answer, ids are random, and no
    feedback is taken for them.
    """

    tenancy: Tenancy
    require_admitted: Callable[[TenantId], None]
    _keys: KeptKeys[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._keys = KeptKeys(self.tenancy.keys, _derived, self.require_admitted)

    async def new(self, tenant: TenantId, adapter: str) -> str:
        """The id of an answer by this adapter (``base`` for none). Raises :class:`RequestRefused` (403)."""
        begun = f"{int(self.tenancy.clock().timestamp()):0{TIME_DIGITS}x}"
        nonce, key = begun + random_nonce()[TIME_DIGITS:], await self._key(tenant)
        return nonce + (random_nonce() if key is None else _signed(key, nonce, adapter))

    async def given(self, tenant: TenantId, answer_id: str, among: Iterable[str]) -> GivenAnswer | None:
        """The answer, if one of these adapters gave it to the tenant; None where none did, the id is over, or the
        tenant's key is out of reach.
        """
        found = _ID.fullmatch(answer_id)
        if found is None:
            return None
        nonce, signed = found.groups()
        over_at = int(nonce[:TIME_DIGITS], 16) + int(RATED_FOR.total_seconds())
        key = await self._key(tenant) if self.tenancy.clock().timestamp() < over_at else None
        if key is None:
            return None
        matching = (name for name in among if hmac.compare_digest(_signed(key, nonce, name), signed))
        return next((GivenAnswer(name, nonce, over_at) for name in matching), None)

    def forget(self, tenant: TenantId) -> None:
        """Drop the key of a tenant that is fenced."""
        self._keys.forget(tenant)

    async def _key(self, tenant: TenantId) -> bytes | None:
        held = self._keys.get(tenant)
        if held is not None or not self.tenancy.keys.answers():
            return held
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                return await self._keys.of(tenant)
        except (Refused, Transient, TimeoutError):
            return None


def _derived(keys: TenantKeys) -> bytes:
    return derived_key(keys.data_key, b"sanolith/answer-id/v1")


def _signed(key: bytes, nonce: str, adapter: str) -> str:
    return tag(key, f"{nonce}|{adapter}")
