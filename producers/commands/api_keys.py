"""Creates, lists and revokes a tenant's API keys for operators: one swap of the tenant's state, without any event."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from pydantic import ValidationError

from producers.commands.audited import entered
from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId
from schemas.base.timestamps import Timestamp
from schemas.bus.envelope import event_id
from schemas.evidence.audit import Actor
from schemas.tenant.api_keys import ApiKey, KeyId, Scope
from tenancy.audit.log import AuditRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.state import api_keys
from tenancy.state.api_keys import GivenKey
from tenancy.tenant_id import TenantId

CREATED, REVOKED = "api_key.created", "api_key.revoked"
MAX_DAYS = 365


class KeyView(Contract):
    """A key as operators see it, without the hash of its secret."""

    key_id: KeyId
    name: OpaqueId
    scopes: tuple[Scope, ...]
    created_at: Timestamp
    expires_at: Timestamp
    created_by: OpaqueId | None = None
    expired: bool = False


@dataclass(frozen=True)
class CreatedKey:
    """``text`` is the key itself, which is known to nobody from here on but to whom it is given."""

    view: KeyView
    text: str


async def create(
    tenancy: Tenancy,
    tenant: TenantId,
    *,
    name: str,
    scopes: Iterable[Scope],
    lifetime: timedelta,
    created_by: str,
) -> CreatedKey:
    """Create a key. Raises :class:`UnknownTenant`, :class:`TenantFenced`, and :class:`Refused` for a name in use."""
    if not timedelta(0) < lifetime <= timedelta(days=MAX_DAYS):
        raise Refused("bad-lifetime", f"refused: a key lives up to {MAX_DAYS} days")
    now, given = tenancy.clock(), GivenKey.random(tenant)
    try:
        key = ApiKey(
            key_id=given.key_id,
            name=name,
            scopes=tuple(sorted(set(scopes))),
            secret_sha256=given.secret_sha256,
            created_at=now,
            expires_at=now + lifetime,
            created_by=created_by,
        )
    except ValidationError:
        raise Refused("bad-key", "refused: a key has an opaque name and at least one scope") from None
    state = (await tenancy.states.swap(tenant, api_keys.created(key, now))).state
    await _entered(tenancy, tenant, CREATED, key, created_by, state.status)
    return CreatedKey(_view(tenancy, key), given.text)


async def keys(tenancy: Tenancy, tenant: TenantId) -> list[KeyView]:
    """The tenant's keys, expired ones until the next is created. Raises :class:`UnknownTenant`."""
    return [_view(tenancy, key) for key in (await tenancy.states.read(tenant)).state.api_keys]


async def revoke(tenancy: Tenancy, tenant: TenantId, key_id: str, *, revoked_by: str) -> KeyView:
    """Revoke one key. Every replica refuses it once its cached state has expired: a second, unless settings say
    otherwise. Raises :class:`UnknownTenant` and :class:`Refused`.
    """
    before = {key.key_id: key for key in (await tenancy.states.read(tenant)).state.api_keys}
    state = (await tenancy.states.swap(tenant, api_keys.revoked(key_id))).state
    if key_id in before:
        await _entered(tenancy, tenant, REVOKED, before[key_id], revoked_by, state.status)
        return _view(tenancy, before[key_id])
    raise Refused("unknown-key", "refused: the tenant has no key of this id; `sano tenant key list` lists them")


async def _entered(tenancy: Tenancy, tenant: TenantId, kind: str, key: ApiKey, by: str, status: str) -> None:
    record = AuditRecord(
        occurrence=event_id(kind, tenant, key.key_id),
        kind=kind,
        time=tenancy.clock(),
        actor=Actor(role="operator", id=by),
        facts={
            "key_id": key.key_id,
            "name": key.name,
            "scopes": "+".join(key.scopes),
            "expires_at": key.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        recorded_while=status,  # type: ignore[arg-type]
    )
    await entered(tenancy, tenant, record, f"key {key.key_id} is {kind.partition('.')[2]}")


def _view(tenancy: Tenancy, key: ApiKey) -> KeyView:
    expired = key.expires_at <= tenancy.clock()
    return KeyView(**key.model_dump(exclude={"secret_sha256"}), expired=expired)
