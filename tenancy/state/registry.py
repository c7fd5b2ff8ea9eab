"""Compare-and-swaps the one object that linearizes a tenant's history."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from schemas.base.contract import read_tolerant
from schemas.bus.events import EVENT_TYPES, EventData
from schemas.objects import object_keys
from schemas.objects.state import OutboxEntry, TenantState
from tenancy.errors import ObjectNotFound, PreconditionFailed, TenantFenced, UnknownTenant
from tenancy.platform.clock import Clock, random_nonce, utc_now
from tenancy.storage.cas_record import CasRecord
from tenancy.storage.objects import ObjectStore
from tenancy.tenant_id import TenantId

Change = Callable[[TenantState], TenantState]


class Snapshot(NamedTuple):
    """A state and the ETag it was read or written with."""

    state: TenantState
    etag: str


def require_active(state: TenantState) -> TenantState:
    """Raises :class:`TenantFenced` unless data may be created for the tenant."""
    if state.status != "active":
        raise TenantFenced
    return state


def with_events(state: TenantState, *entries: OutboxEntry) -> TenantState:
    """The state with events that the swap owes to the bus."""
    return state.evolve(outbox=(*state.outbox, *entries))


def publishable(state: TenantState) -> tuple[OutboxEntry, ...]:
    """What the outbox owes, but for events of types that only a newer release knows: those wait for it."""
    return tuple(entry for entry in state.outbox if entry.event_type in EVENT_TYPES)


def entry_data(entry: OutboxEntry) -> EventData:
    """The event data that an outbox entry stands for. A newer release may have written it with fields of its own."""
    return read_tolerant(EVENT_TYPES[entry.event_type], entry.data)


@dataclass(frozen=True)
class StateRegistry:
    """Reads and swaps ``registry/<tenant>/state.json``."""

    objects: ObjectStore
    clock: Clock = utc_now

    async def read(self, tenant: TenantId) -> Snapshot:
        """Raises :class:`UnknownTenant`."""
        try:
            stored = await self.objects.get(object_keys.state_key(tenant))
        except ObjectNotFound:
            raise UnknownTenant from None
        return Snapshot(read_tolerant(TenantState, stored.body), stored.etag)

    async def create(self, state: TenantState) -> Snapshot:
        """Create a tenant's first state, or return the one that is there: also a purged one, which stays purged."""
        body = state.model_dump_json().encode()
        try:
            etag = await self.objects.put(object_keys.state_key(state.tenant), body, if_absent=True)
        except PreconditionFailed:
            return await self.read(TenantId(state.tenant))
        return Snapshot(state, etag)

    async def swap(self, tenant: TenantId, change: Change, *, base: Snapshot | None = None) -> Snapshot:
        """Apply ``change`` by compare-and-swap and return what was written.

        ``change`` is one of :meth:`CasRecord.swap`. ``base`` saves the first read. Raises what ``change`` raises,
        :class:`UnknownTenant`, and :class:`ContendedState` after too many lost races.
        """
        ours: set[str] = set()

        def numbered(state: TenantState) -> TenantState:
            # Its own nonce: a retry inside the client after a lost answer, where the first attempt had won.
            changed = state if state.nonce in ours else change(state)
            if changed is state:
                return state
            ours.add(nonce := random_nonce())
            return changed.evolve(rev=state.rev + 1, nonce=nonce)

        key = object_keys.state_key(tenant)
        record = CasRecord(
            partial(self.read, tenant),
            lambda state, etag: self.objects.put(key, state.model_dump_json().encode(), if_match=etag),
        )
        state, etag, _ = await record.swap(numbered, base=base)
        return Snapshot(state, etag)

    async def tenants(self, *, after: str = "") -> AsyncIterator[TenantId]:
        """Every tenant that was ever onboarded, purged ones too, in the order of their keys; those behind ``after``."""
        behind = object_keys.state_key(after) if after else ""
        async for key in self.objects.keys(object_keys.REGISTRY_PREFIX, after=behind):
            if key.endswith("/state.json"):
                yield TenantId(key[len(object_keys.REGISTRY_PREFIX) : -len("/state.json")])
