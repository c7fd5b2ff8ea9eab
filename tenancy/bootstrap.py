"""Wires each port of the tenant boundary to its implementation. No other module does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from schemas.bus.envelope import Event
from schemas.evidence.purposes import Purpose
from tenancy.audit.log import AuditLog
from tenancy.bus import NoBus, Publisher
from tenancy.errors import Refused
from tenancy.evidence.event_signatures import EventSigner
from tenancy.evidence.given_keys import read_public_key
from tenancy.evidence.keys import LocalKey, SigningKey
from tenancy.evidence.kms import KmsKey
from tenancy.evidence.process_keys import ProcessKeys
from tenancy.evidence.signer import Signer
from tenancy.evidence.trust import Trust
from tenancy.evidence.trust_source import KeyFileSource, TrustSource, require_trusted
from tenancy.platform.clock import Clock, utc_now
from tenancy.platform.settings import BusSettings, PlatformSettings
from tenancy.state.open_work import Announcer
from tenancy.state.outbox import Outbox
from tenancy.state.registry import Snapshot, StateRegistry, require_active
from tenancy.state.tenant_work import TenantWork
from tenancy.storage.direct_s3 import DirectRequests
from tenancy.storage.keys import KeyRing
from tenancy.storage.master_keys import KeyFileMasterKey, KmsMasterKey, MasterKey
from tenancy.storage.objects import ObjectStore
from tenancy.storage.s3 import S3ObjectStore, connect
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

KMS = "kms:"


@dataclass(frozen=True)
class Tenancy:
    """The ports of the tenant boundary. Handlers get this and nothing else to act with."""

    objects: ObjectStore
    states: StateRegistry
    keys: KeyRing
    outbox: Outbox
    publisher: Publisher
    clock: Clock = utc_now
    audit_announcer: Announcer | None = None

    @property
    def audit(self) -> AuditLog:
        """The tenants' audit logs."""
        return AuditLog(self.objects, self.clock, announcer=self.audit_announcer)

    async def store(self, tenant: TenantId) -> TenantStore:
        """The tenant's sealed store. Raises :class:`KeyDestroyed`."""
        return TenantStore(self.objects, await self.keys.open(tenant))

    async def active(self, tenant: TenantId) -> Snapshot:
        """The tenant's state, if data may be created for it. Raises UnknownTenant or TenantFenced."""
        snapshot = await self.states.read(tenant)
        require_active(snapshot.state)
        return snapshot

    async def begin(self, event: Event) -> TenantWork:
        """Open the event's tenant to handle it. Raises as :meth:`active`, and as :meth:`store` only after it."""
        tenant = TenantId(event.subject)
        return TenantWork(event.id, await self.active(tenant), await self.store(tenant), self.outbox)

    async def begin_run(self, run: Sequence[Event]) -> TenantWork:
        """Open the tenant of a run of events, state and key side by side. The work is that of the run's first event."""
        tenant = TenantId(run[0].subject)
        snapshot, store = await asyncio.gather(self.active(tenant), self.store(tenant))
        return TenantWork(run[0].id, snapshot, store, self.outbox)


def assemble(
    objects: ObjectStore,
    master: MasterKey,
    publisher: Publisher,
    source: str,
    clock: Clock = utc_now,
    now: Callable[[], float] = time.monotonic,
) -> Tenancy:
    """Put the parts together; tests give fakes."""
    states = StateRegistry(objects, clock)
    return Tenancy(
        objects=objects,
        states=states,
        keys=KeyRing(objects, master, clock),
        outbox=Outbox(states, publisher, source, clock),
        publisher=publisher,
        clock=clock,
        audit_announcer=Announcer(objects, "audit", now),
    )


def master_key(settings: PlatformSettings) -> MasterKey:
    """KMS where a key id is set, else the key file. Raises :class:`Refused`."""
    if settings.kms_key_id is not None:
        return KmsMasterKey.connect(settings.kms_key_id, settings.s3_timeout_seconds)
    if settings.master_key_file is not None:
        return KeyFileMasterKey.read(settings.master_key_file)
    why = "refused: without a master key no tenant's data can be opened; set SANO_KMS_KEY_ID or SANO_MASTER_KEY_FILE"
    raise Refused("no-master-key", why)


def trust(settings: BusSettings) -> Trust:
    """The keys of the trust file, which is read again where it changes. Raises :class:`Refused`."""
    if settings.trust_file is None or settings.trust_root_file is None:
        why = "refused: without a trust file no signature can be checked; set SANO_TRUST_FILE and SANO_TRUST_ROOT_FILE"
        raise Refused("no-trust-file", why)
    root = read_public_key(settings.trust_root_file, "SANO_TRUST_ROOT_FILE")
    return Trust(TrustSource(settings.trust_file, root, settings.trust_seconds))


def process_keys(settings: BusSettings, *purposes: Purpose) -> ProcessKeys:
    """The trust file, and the private keys of these purposes, which it must have. Raises :class:`Refused`, and
    :class:`StoreUnavailable` where KMS is out of reach.
    """
    trusted = trust(settings)
    return ProcessKeys(trusted, {purpose: signer(settings, purpose, trusted) for purpose in purposes})


def signer(settings: BusSettings, purpose: Purpose, trusted: Trust | None = None) -> Signer:
    """The private key of one purpose. Raises as :func:`process_keys`."""
    name = f"SANO_{purpose}_KEY".upper()
    reference: str | None = getattr(settings, f"{purpose}_key", None)
    if reference is None:
        raise Refused("no-signing-key", f"refused: without a private key no {purpose} can be signed; set {name}")
    trusted = trusted or trust(settings)
    if not reference.startswith(KMS):
        return Signer(purpose, KeyFileSource(Path(reference), purpose, trusted, name))
    key = signing_key(reference, name, settings.remote_key_seconds)
    require_trusted(key, purpose, trusted, name)
    return Signer.of(purpose, key)


def event_signer(settings: BusSettings) -> EventSigner | None:
    """None for a process that was given no event key: what it publishes is unsigned. Raises as :func:`process_keys`."""
    return EventSigner(signer(settings, Purpose.EVENT)) if settings.event_key is not None else None


def signing_key(reference: str, given_by: str, timeout_seconds: float) -> SigningKey:
    """The private key that a setting or an option names. Raises as :func:`process_keys`."""
    if reference.startswith(KMS):
        return KmsKey.connect(reference.removeprefix(KMS), timeout_seconds)
    return LocalKey.read(Path(reference), given_by)


def object_store(settings: PlatformSettings) -> S3ObjectStore:
    """The bucket of this installation. Nothing is asked of it yet."""
    secret = settings.aws_secret_access_key
    client = connect(
        settings.s3_endpoint_url,
        timeout_seconds=settings.s3_timeout_seconds,
        access_key_id=settings.aws_access_key_id,
        secret_access_key=secret.get_secret_value() if secret else None,
    )
    direct = DirectRequests.to(client, settings.s3_bucket, by_path=settings.s3_endpoint_url is not None)
    return S3ObjectStore(client, settings.s3_bucket, direct)


def open_store(settings: PlatformSettings) -> AbstractAsyncContextManager[S3ObjectStore]:
    """The bucket for the life of a service or a command. Nothing is asked of it yet."""
    return aclosing(object_store(settings))


@asynccontextmanager
async def open_tenancy(settings: PlatformSettings, source: str) -> AsyncIterator[Tenancy]:
    """Connect to the real bus and object store for the life of a service or a command.

    Raises :class:`Refused` for wrong settings, before anything is waited for.
    """
    from tenancy.kafka_publisher import KafkaPublisher  # which commands that only read do without

    master, client, signing = master_key(settings), settings.kafka_client(), event_signer(settings)
    async with open_store(settings) as store, KafkaPublisher(client, signing) as kafka:
        tenancy = assemble(store, master, kafka, f"/sanolith/{source}")
        with closing(tenancy.keys):
            yield tenancy


@asynccontextmanager
async def open_reading(settings: PlatformSettings, source: str) -> AsyncIterator[Tenancy]:
    """Connect to the real object store alone. Raises :class:`Refused` where there is no master key."""
    master = master_key(settings)
    async with open_store(settings) as store:
        tenancy = assemble(store, master, NoBus(), f"/sanolith/{source}")
        with closing(tenancy.keys):
            yield tenancy
