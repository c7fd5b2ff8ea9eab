"""Makes ids of answers by which every replica knows, without a record, whose answer it was and which adapter gave it.

An id is a nonce and an HMAC of it and the adapter, under a key derived from the tenant's data key: of another tenant,
of another installation, made up, or of a tenant that was purged, it is nobody's.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused, Transient
from tenancy.platform.clock import NewNonce, random_nonce
from tenancy.storage.derived_keys import TAG_DIGITS, derived_key, tag
from tenancy.storage.kept_keys import KeptKeys
from tenancy.storage.keys import TenantKeys
from tenancy.tenant_id import TenantId

OPEN_SECONDS = 2.0
"""So long an answer waits for its tenant's key, once in the life of a replica."""
NONCE_DIGITS = 32
_ID = re.compile(rf"(?:chatcmpl-|cmpl-|resp_)?([0-9a-f]{{{NONCE_DIGITS}}})([0-9a-f]{{{TAG_DIGITS}}})")


@dataclass
class AnswerIds:
    """``require_admitted`` raises where a tenant is fenced, of which no key is kept then.

    An answer does not fail for want of its tenant's key: while the master key does not answer, ids are random, and no
    feedback is taken for them.
    """

    tenancy: Tenancy
    require_admitted: Callable[[TenantId], None]
    new_nonce: NewNonce = random_nonce
    _keys: KeptKeys[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._keys = KeptKeys(self.tenancy.keys, _derived, self.require_admitted)

    async def new(self, tenant: TenantId, adapter: str) -> str:
        """The id of an answer by this adapter (``base`` for none). Raises :class:`RequestRefused` (403)."""
        nonce, key = self.new_nonce(), await self._key(tenant)
        return nonce + (self.new_nonce() if key is None else _signed(key, nonce, adapter))

    async def adapter(self, tenant: TenantId, answer_id: str, among: Iterable[str]) -> str | None:
        """Which of these adapters gave the tenant this answer; None where none did, or the tenant's key is out of
        reach.
        """
        found = _ID.fullmatch(answer_id)
        key = None if found is None else await self._key(tenant)
        if found is None or key is None:
            return None
        nonce, given = found.groups()
        return next((name for name in among if hmac.compare_digest(_signed(key, nonce, name), given)), None)

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
