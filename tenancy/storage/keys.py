"""Manages a tenant's keys: creates them at onboarding, wraps them by the master key, destroys them at purge."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from joserfc import jwe
from joserfc.jwk import OKPKey
from pydantic import BaseModel, ValidationError

from schemas.base.contract import Contract, read_tolerant
from schemas.base.identifiers import MAX_JWE_CHARACTERS, TenantName
from schemas.base.timestamps import Timestamp
from schemas.objects import object_keys
from tenancy.errors import KeyDestroyed, ObjectNotFound, PreconditionFailed, Refused, SealBroken, StoreUnavailable
from tenancy.platform.clock import Clock, utc_now
from tenancy.platform.threads import Threads
from tenancy.storage.master_keys import MasterKey
from tenancy.storage.objects import ObjectStore, ObjectVersion
from tenancy.storage.sealing import open_sealed, seal
from tenancy.tenant_id import TenantId

ModelT = TypeVar("ModelT", bound=BaseModel)

UNANSWERED_SECONDS = 60.0
"""So long a master key that did not answer counts as out of reach, unless it is asked again before and answers."""
JWE_HEADER = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}


class _InlineRegistry(jwe.JWERegistry):
    """Takes tokens up to the contract's size: joserfc's own bound is 65,536 characters."""

    max_ciphertext_length = MAX_JWE_CHARACTERS


# Compression is none of the algorithms: a few kilobytes could be inflated to gigabytes.
_INLINE = _InlineRegistry(algorithms=list(JWE_HEADER.values()))


class KeyRecord(Contract):
    """``registry/<tenant>/key.json``. Without it every sealed byte of the tenant is noise."""

    tenant: TenantName
    master_key_id: str
    wrapped_data_key: str
    sealed_private_key: str
    public_key: dict[str, str]
    created_at: Timestamp


@dataclass(frozen=True)
class TenantKeys:
    """The opened keys. They live in memory for one handling, never in a cache that could outlive a purge."""

    tenant: TenantId
    data_key: bytes = field(repr=False)
    private_key: OKPKey = field(repr=False)
    public_key: OKPKey

    def thumbprint(self) -> str:
        return self.public_key.thumbprint()

    def decrypt_inline(self, token: str, model: type[ModelT]) -> ModelT:
        """Open content of this kind that a publisher encrypted to the tenant's public key.

        Raises :class:`SealBroken`, and :class:`Refused` for what is too long or is of another kind.
        """
        _require_inline_size(token)
        try:
            opened = jwe.decrypt_compact(token, self.private_key, registry=_INLINE)
        except Exception:
            # joserfc looks up what the token's header names before it checks what it is, and raises whatever comes of
            # that: a KeyError for another curve, a TypeError for a number where a list belongs.
            raise SealBroken("the inline content is not encrypted to this tenant's key") from None
        try:
            return read_tolerant(model, opened.plaintext or b"")
        except ValidationError:
            raise Refused("bad-content", f"refused: the inline content is no {model.__name__}") from None


def encrypt_inline(public_key: OKPKey, content: BaseModel) -> str:
    """Encrypt content to a tenant: JWE compact, ECDH-ES+A256KW, A256GCM. Raises :class:`Refused` if too long."""
    token = jwe.encrypt_compact(dict(JWE_HEADER), content.model_dump_json().encode(), public_key, registry=_INLINE)
    _require_inline_size(token)
    return token


def _require_inline_size(token: str) -> None:
    if len(token) > MAX_JWE_CHARACTERS:
        raise Refused(
            "bad-content",
            f"refused: inline content is a JWE of up to {MAX_JWE_CHARACTERS:,} characters; upload what is larger",
        )


@dataclass(eq=False)
class KeyRing:
    """Creates, opens and destroys tenants' keys. A master key may block, so it is asked in a thread."""

    objects: ObjectStore
    master: MasterKey
    clock: Clock = utc_now
    threads: Threads = field(default_factory=Threads, repr=False)
    _unanswered_at: float | None = field(default=None, init=False, repr=False)  # by time.monotonic

    def close(self) -> None:
        """Ask nothing more of the master key; what is being asked ends in its thread."""
        self.threads.close()

    def answers(self) -> bool:
        """Whether the master key answered when it was asked last. It is not asked: that takes rights of its own."""
        return self._unanswered_at is None or time.monotonic() - self._unanswered_at > UNANSWERED_SECONDS

    async def _asked(self, ask: Callable[[], bytes]) -> bytes:
        unanswered_at = None  # a refusal is an answer
        try:
            return await self.threads.run(ask)
        except (StoreUnavailable, asyncio.CancelledError):
            unanswered_at = time.monotonic()
            raise
        finally:
            self._unanswered_at = unanswered_at

    async def create(self, tenant: TenantId) -> TenantKeys:
        """Make the tenant's keys, or open those that an earlier, interrupted onboarding made."""
        data_key = secrets.token_bytes(32)
        pair = OKPKey.generate_key("X25519")
        location = object_keys.key_key(tenant)
        record = KeyRecord(
            tenant=tenant,
            master_key_id=self.master.key_id,
            wrapped_data_key=_b64(await self._asked(lambda: self.master.wrap(tenant, data_key))),
            sealed_private_key=_b64(seal(data_key, location, json.dumps(pair.as_dict(private=True)).encode())),
            public_key={name: str(value) for name, value in pair.as_dict(private=False).items()},
            created_at=self.clock(),
        )
        with suppress(PreconditionFailed):
            await self.objects.put(location, record.model_dump_json().encode(), if_absent=True)
        return await self.open(tenant)

    async def open(self, tenant: TenantId) -> TenantKeys:
        """Raises :class:`KeyDestroyed` when there is no key, :class:`SealBroken` when it is another tenant's."""
        location = object_keys.key_key(tenant)
        record = await self._record(tenant)
        wrapped = base64.b64decode(record.wrapped_data_key)
        data_key = await self._asked(lambda: self.master.unwrap(tenant, wrapped))
        private = json.loads(open_sealed(data_key, location, base64.b64decode(record.sealed_private_key)))
        return TenantKeys(tenant, data_key, OKPKey.import_key(private), OKPKey.import_key(dict(record.public_key)))

    async def public_key(self, tenant: TenantId) -> dict[str, str]:
        """The JWK to encrypt inline content to. No master key is needed for it. Raises :class:`KeyDestroyed`."""
        return dict((await self._record(tenant)).public_key)

    async def _record(self, tenant: TenantId) -> KeyRecord:
        try:
            stored = await self.objects.get(object_keys.key_key(tenant))
        except ObjectNotFound:
            raise KeyDestroyed from None
        return read_tolerant(KeyRecord, stored.body)

    async def destroy(self, tenant: TenantId) -> int:
        """Remove every version of the wrapped key. Returns how many there were; zero when it was gone already."""
        prefix = object_keys.key_key(tenant)
        doomed: Sequence[ObjectVersion] = [v async for v in self.objects.versions(prefix) if v.key == prefix]
        await self.objects.delete_versions(doomed)
        return len(doomed)


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
