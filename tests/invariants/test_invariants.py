"""Invariants of DESIGN section 3 that no module can keep alone: bound, fenced for ever, declared, fail closed, quiet.

All of them are asked of the whole world: every consumer's handlers, runner, worker, driver and agent.
"""

from __future__ import annotations

import ast
import asyncio
import io
import json
import logging
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from pythonjsonlogger.json import JsonFormatter

from consumers.adapters.handlers import on_adapter_ready
from consumers.curation.handlers import on_consent_granted, on_example_approved
from consumers.export.handlers import ExportPorts, on_export_requested
from consumers.ledger.handlers import on_usage_recorded
from consumers.purge.certificate import RETAINED
from consumers.purge.driver import PurgeDriver, stores
from consumers.purge.handlers import PurgePorts, on_purge_requested
from consumers.runtime.dead_letters import REASON_HEADERS, dead_letter
from consumers.runtime.dispatch import Dispatcher, Poison
from consumers.runtime.policy import HandlingPolicy
from consumers.runtime.telemetry import SCOPE, Telemetry
from consumers.training.freeze import freeze
from consumers.training.handlers import TrainingPorts, on_training_requested
from consumers.training.publication import Publication
from consumers.training.worker import Worker
from producers import commands
from producers.importing import import_approvals
from producers.onboarding import onboard
from schemas import events, object_keys
from schemas.content import ChatMessage, ClaimCheck, Committed, ExampleContent, InlineContent
from schemas.envelope import Event, MalformedEvent, decode, encode
from schemas.manifests import EVICTION_PREDICATE, TRAINING_PREDICATE, EvictionReceipt, TrainingManifest, statement
from schemas.model import read_tolerant
from schemas.outcome import Outcome
from schemas.policy import TenantPolicy
from schemas.records import ExampleRecord
from schemas.topics import LIVE_TOPICS, TOPICS, dead_letter_topic
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RawMessage
from tenancy.errors import (
    KeyDestroyed,
    LeaseLost,
    ObjectNotFound,
    Refused,
    SealBroken,
    TenantFenced,
)
from tenancy.keys import encrypt_inline
from tenancy.leases import Leases
from tenancy.memory import MemoryObjectStore
from tenancy.objects import ObjectVersion
from tenancy.signing import Signer
from tenancy.tenant_id import TenantId
from tenancy.tokens import BadToken, TokenIssuer, TokenVerifier
from tests.unit import test_fetching
from tests.world.world import LEASE_SECONDS, POLICY, SETTLE_SECONDS, Service, World

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "tenancy", "producers", "consumers", "inference", "deploy")
NAME, OTHER_NAME = "tenant-one", "tenant-one0"  # one is a prefix of the other


# --- the world in a state worth breaking into


async def learned(world: World, tenant: TenantId, text: str = "a") -> str:
    """Take a tenant through the whole loop, everything declared used; returns its active, loaded adapter."""
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for number in range(3):
        await world.publish(tenant, await world.approval(tenant, f"e{number}", text=text))
    await world.publish(
        tenant, events.ExampleRejected(example_id="e8", version=1, reviewer_id="rev-1", reason_code="unclear")
    )
    await world.publish(tenant, events.ExampleWithdrawn(example_id="e9", reason_code="patient-request"))
    await world.publish(tenant, events.UsageRecorded(usage_id="u1", source="inference", prompt_tokens=3))
    await world.settle()
    await world.publish(tenant, events.ExportRequested(export_id="x1", requested_by="op"))
    await world.settle()
    active = (await world.state(tenant)).active_adapter
    assert active is not None
    async with world.placement.held(tenant, active):
        pass
    return active


async def purged(world: World, tenant: TenantId) -> None:
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    await assert_purged(world, tenant)


async def assert_purged(world: World, tenant: TenantId) -> None:
    """Nothing of the tenant is anywhere, and its state keeps it so."""
    left = [key for key in world.memory.objects if key.startswith(object_keys.tenant_prefix(tenant))]
    assert left == []
    assert object_keys.key_key(tenant) not in world.memory.objects
    assert len(world.memory.objects[object_keys.state_key(tenant)]) == 1, "no superseded state is kept"
    state = await world.state(tenant)
    assert state.status == "purged"
    assert (state.runs, state.adapters, state.active_adapter, state.outbox) == ({}, {}, None, ())
    assert state.curation.model_dump(exclude={"batches"}) == type(state.curation)().model_dump(exclude={"batches"})
    assert state.purge is not None
    assert object_keys.certificate_key(state.purge.purge_id) in world.memory.objects


def frozen(world: World, tenant: TenantId | None = None) -> dict[str, list[str]]:
    """Every object version, of one tenant or of everybody."""
    return {
        key: [version.version_id for version in versions]
        for key, versions in world.memory.objects.items()
        if tenant is None or f"/{tenant}/" in key
    }


def service(world: World, name: str) -> Service:
    return next(found for found in world.services if found.name == name)


def event(tenant: TenantId | str, data: events.EventData, world: World) -> Event:
    return Event(subject=tenant, data=data, time=world.now, source="/test")


def receipt(
    world: World,
    tenant: str,
    *,
    replica: str = "replica-0",
    cause: str = "p1",
    signer: Signer | None = None,
    **said: Any,
) -> dict[str, Any]:
    data = {
        "replica_id": replica,
        "tenant": tenant,
        "cause_id": cause,
        "evicted": (),
        "remaining": (),
        "slots_overwritten": True,
        "prefix_cache_reset": True,
        "local_files_deleted": True,
        "requests_aborted": 0,
        "evicted_at": world.now,
        **said,
    }
    made = EvictionReceipt.model_validate(data)
    return (signer or world.signer).sign(statement(EVICTION_PREDICATE, {"replica:x": "a" * 64}, made))


@dataclass(frozen=True)
class Pair:
    """Two tenants that have learned, each with an adapter of its own."""

    world: World
    one: TenantId
    other: TenantId
    digest: str
    foreign: str


@pytest.fixture
async def pair(tmp_path: Path) -> Pair:
    world = World(tmp_path / "scratch")
    one, other = await world.onboard(NAME), await world.onboard(OTHER_NAME)
    digest, foreign = await learned(world, one), await learned(world, other, text="b")
    assert digest != foreign
    return Pair(world, one, other, digest, foreign)


# --- 1. bound


async def test_bound_no_object_of_one_tenant_opens_for_another(pair: Pair) -> None:
    world = pair.world
    ours, theirs = await world.outside.store(pair.one), await world.outside.store(pair.other)
    copied = 0
    prefix = object_keys.tenant_prefix(pair.other)
    for key in [key async for key in world.memory.keys(prefix)]:
        relative = key.removeprefix(prefix)
        assert (await theirs.get(relative))[0] is not None
        await world.memory.put(object_keys.tenant_key(pair.one, relative), (await world.memory.get(key)).body)
        with pytest.raises(SealBroken):
            await ours.get(relative)
        copied += 1
    assert copied > 15


async def test_bound_the_key_of_one_tenant_does_not_become_anothers(pair: Pair) -> None:
    world = pair.world
    stored = await world.memory.get(object_keys.key_key(pair.other))
    await world.memory.put(object_keys.key_key(pair.one), stored.body)
    with pytest.raises(SealBroken):
        await world.outside.store(pair.one)


async def test_bound_a_claim_check_must_name_the_example_that_was_approved(pair: Pair) -> None:
    world = pair.world
    approval = await world.approval(pair.one, "e20")
    renamed = approval.model_copy(update={"example_id": "e21"})
    version = approval.model_copy(update={"version": 2})
    before = frozen(world)
    for wrong in (renamed, version):
        with pytest.raises(Refused) as refused:
            await on_example_approved(event(pair.one, wrong, world), world.tenancy)
        assert refused.value.code == "foreign-claim-check"
    with pytest.raises(Refused) as refused:
        await on_example_approved(event(pair.other, approval, world), world.tenancy)
    assert refused.value.code == "no-content", "what lies in another tenant's prefix does not exist for this one"
    assert frozen(world) == before


async def test_bound_content_encrypted_to_another_tenant_is_refused(pair: Pair) -> None:
    world = pair.world
    content = ExampleContent(
        messages=(ChatMessage(role="user", content="q"), ChatMessage(role="assistant", content="a")),
        salt=secrets.token_hex(32),
    )
    keys = await world.outside.keys.open(pair.one)
    approval = events.ExampleApproved(
        example_id="e30",
        version=1,
        reviewer_id="rev-1",
        consent_id="consent-1",
        content=Committed(
            reference=InlineContent(jwe=encrypt_inline(keys.public_key, content)), commitment=content.commitment()
        ),
    )
    before = frozen(world)
    with pytest.raises(SealBroken):
        await on_example_approved(event(pair.other, approval, world), world.tenancy)
    assert frozen(world) == before
    assert await on_example_approved(event(pair.one, approval, world), world.tenancy) is Outcome.EFFECT


async def test_bound_an_event_under_another_tenants_key_is_no_event(pair: Pair) -> None:
    published = [made for log in pair.world.bus.topics.values() for made in log if made.subject == pair.one]
    assert len({made.type for made in published}) >= 10
    for made in published:
        message = encode(made)
        with pytest.raises(MalformedEvent) as refused:
            decode(pair.other.encode(), message.value, message.headers)
        assert refused.value.code == "key-mismatch"
        renamed = {**dict(message.headers), "ce_subject": pair.other.encode()}
        with pytest.raises(MalformedEvent) as refused:
            decode(pair.other.encode(), message.value, list(renamed.items()))
        assert refused.value.code == "id-mismatch", "an id belongs to one tenant"


async def test_bound_a_foreign_adapter_is_not_announced_activated_exported_or_evicted(pair: Pair) -> None:
    world, before = pair.world, frozen(pair.world)
    ready = events.AdapterReady(adapter_digest=pair.foreign, run_id="batch-1", base_model_digest="b" * 64, size_bytes=1)
    export = events.ExportRequested(export_id="x2", adapter_digest=pair.foreign, requested_by="op")
    ports = ExportPorts(world.tenancy, world.signer.verifier)
    attempts: list[Callable[[], Awaitable[Any]]] = [
        lambda: on_adapter_ready(event(pair.one, ready, world), world.tenancy),
        lambda: commands.activate(world.tenancy, pair.one, pair.foreign),
        lambda: commands.rollback(world.tenancy, pair.one, pair.foreign),
        lambda: on_export_requested(event(pair.one, export, world), ports),
        lambda: commands.request_export(world.tenancy, pair.one, requested_by="op", digest=pair.foreign),
    ]
    for attempt in attempts:
        with pytest.raises(Refused) as refused:
            await attempt()
        assert refused.value.code == "unknown-adapter"
    retired = events.AdapterRetired(adapter_digest=pair.foreign, reason_code="superseded")
    await world.handle(service(world, "inference"), event(pair.one, retired, world))
    assert set(world.engine.names) == {pair.digest, pair.foreign}
    assert frozen(world) == before


async def test_bound_a_receipt_counts_only_for_what_it_says_under_our_key(pair: Pair) -> None:
    world = pair.world
    await world.lease.renew()
    requested = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
    purge = service(world, "purge")
    await on_purge_requested(event(pair.one, requested, world), purge.ports)
    wrong: dict[str, dict[str, Any]] = {
        "foreign-receipt": receipt(world, pair.other),
        "foreign-receipt ": receipt(world, pair.one, cause="p2"),
        "foreign-receipt  ": receipt(world, pair.one, replica="replica-1"),
        "bad-signature": receipt(world, pair.one, signer=Signer(Ed25519PrivateKey.generate())),
        "bad-signature ": world.signer.sign(statement(TRAINING_PREDICATE, {"x": "a" * 64}, requested)),
        "bad-signature  ": {},
        "incomplete-eviction": receipt(world, pair.one, local_files_deleted=False),
        "incomplete-eviction ": receipt(world, pair.one, slots_overwritten=False),
    }
    for code, envelope in wrong.items():
        data = events.ReplicaEvicted(replica_id="replica-0", cause_id="p1", receipt=envelope)
        with pytest.raises(Refused) as refused:
            await world.handle(purge, event(pair.one, data, world))
        assert refused.value.code == code.strip()
    assert (await world.driver.read("p1"))[0].acknowledgements == ()
    data = events.ReplicaEvicted(replica_id="replica-0", cause_id="p1", receipt=receipt(world, pair.one))
    assert await world.handle(purge, event(pair.one, data, world)) is Outcome.EFFECT


def test_bound_a_token_is_for_the_tenant_it_was_issued_to_and_for_no_other_installation() -> None:
    ours, theirs = Signer(Ed25519PrivateKey.generate()), Signer(Ed25519PrivateKey.generate())
    token = TokenIssuer(ours).issue(TenantId(NAME))
    assert TokenVerifier(ours.verifier).tenant(token) == NAME
    with pytest.raises(BadToken):
        TokenVerifier(theirs.verifier).tenant(token)


# --- 5. fenced for ever


def samples(world: World, tenant: TenantId, digest: str, approval: events.ExampleApproved) -> list[events.EventData]:
    """One event of every type that anything reacts to; each would have an effect on a tenant that is alive, or, the
    onboarding, on one that nobody knows."""
    return [
        approval,
        events.ExampleRejected(example_id="e50", version=1, reviewer_id="rev-1", reason_code="unclear"),
        events.ExampleWithdrawn(example_id="e51", reason_code="patient-request"),
        events.ConsentGranted(consent_id="consent-9", version=1),
        events.ConsentRevoked(consent_id="consent-1", version=2),
        events.TrainingRequested(run_id="r50", trigger="operator"),
        events.AdapterReady(adapter_digest=digest, run_id="batch-1", base_model_digest="b" * 64, size_bytes=1),
        events.AdapterActivated(adapter_digest=digest, previous_digest=None, activation=7),
        events.AdapterRolledBack(adapter_digest=None, previous_digest=digest, activation=8),
        events.AdapterRetired(adapter_digest=digest, reason_code="superseded"),
        events.ExportRequested(export_id="x50", adapter_digest=digest, requested_by="op"),
        events.UsageRecorded(usage_id="u50", source="inference", prompt_tokens=1),
        events.TenantOnboarded(policy=TenantPolicy(), public_key_thumbprint="x" * 43),
        events.TenantChurned(requested_by="op"),
        events.PurgeRequested(purge_id="p50", reason_code="churned", requested_by="op"),
        events.PurgeFenced(purge_id="p50", fenced_at=world.now, deadline=world.now),
        events.ReplicaEvicted(replica_id="replica-0", cause_id="p50", receipt=receipt(world, tenant, cause="p50")),
    ]


REFUSED_AFTER_A_PURGE = {
    "sano.tenant.onboarded",
    "sano.example.approved",
    "sano.example.rejected",
    "sano.example.withdrawn",
    "sano.consent.granted",
    "sano.consent.revoked",
    "sano.training.requested",
    "sano.adapter.ready",
    "sano.export.requested",
    "sano.usage.recorded",
}


async def test_fenced_after_a_purge_no_event_of_any_type_creates_anything(pair: Pair) -> None:
    world = pair.world
    approval = await world.approval(pair.one, "e50x")
    await purged(world, pair.one)
    before = frozen(world)
    made = samples(world, pair.one, pair.digest, approval)
    handled = {kind for found in world.services for kind in found.handlers}
    assert {type(data) for data in made} == handled, "a new handler needs a sample here"
    world.outcomes.clear()
    for found in world.services:
        for data in made:
            await world.handle(found, event(pair.one, data, world))
    assert {kind for _, kind, outcome in world.outcomes if outcome is Outcome.REFUSED_PURGED} == REFUSED_AFTER_A_PURGE
    assert [entry for entry in world.outcomes if entry[2] is Outcome.EFFECT] == []
    assert frozen(world) == before
    await world.settle()
    await assert_purged(world, pair.one)
    assert frozen(world, pair.other) == {key: ids for key, ids in before.items() if f"/{pair.other}/" in key}


@pytest.mark.parametrize("status", ["purging", "purged"])
async def test_fenced_no_command_and_no_writer_that_kept_its_handles_creates_anything(
    pair: Pair, tmp_path: Path, status: str
) -> None:
    world, tenant = pair.world, pair.one
    tenancy = world.tenancy
    store = await tenancy.store(tenant)  # with the data key, from before the fence
    leases = Leases(store, tenancy.outbox, "late", world.clock, LEASE_SECONDS)
    envelope = json.loads((await store.get(object_keys.adapter(pair.digest, object_keys.ADAPTER_MANIFEST)))[0])
    signed = world.signer.verifier.verify(envelope, TRAINING_PREDICATE)
    manifest = read_tolerant(TrainingManifest, signed["predicate"])
    await world.handle(
        service(world, "training"),
        event(tenant, events.TrainingRequested(run_id="late", trigger="operator"), world),
    )
    lease = await leases.acquire("late")
    if status == "purged":
        await purged(world, tenant)
    else:
        requested = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
        await on_purge_requested(event(tenant, requested, world), service(world, "purge").ports)
    lines = tmp_path / "approvals.jsonl"
    message = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    lines.write_text(json.dumps({"messages": message, "reviewer": "rev-1", "consent": "consent-1"}) + "\n")
    publication = Publication(tenancy, store)
    worker = Worker(tenancy, store, world.signer, world.trainer, leases, tmp_path)
    writers: dict[str, Callable[[], Awaitable[Any]]] = {
        "onboard": lambda: onboard(tenancy, tenant, POLICY),
        "onboard with another policy": lambda: onboard(tenancy, tenant),
        "import": lambda: import_approvals(lines, tenant, tenancy),
        "request training": lambda: commands.request_training(tenancy, tenant),
        "request export": lambda: commands.request_export(tenancy, tenant, requested_by="op", digest=pair.digest),
        "activate": lambda: commands.activate(tenancy, tenant, pair.digest),
        "roll back": lambda: commands.rollback(tenancy, tenant, None),
        "acquire": lambda: leases.acquire("late"),
        "renew": lambda: leases.renew(lease),
        "attempt": lambda: worker.attempt("late"),
        "publish": lambda: publication.publish(manifest, None),
        "reject": lambda: publication.reject("late", lease.record.fence, "late"),
        "fail": lambda: publication.fail("late", lease.record.fence, "late"),
        "void": lambda: publication.void("late", lease.record.fence),
    }
    before = frozen(world)
    for name, write in writers.items():
        with pytest.raises((TenantFenced, LeaseLost, KeyDestroyed, ObjectNotFound)):
            await write()
        assert frozen(world) == before, name
    # These look first and find nothing to do.
    await publication.promote("batch-1", tmp_path)
    await world.runner.look()
    assert world.pending == []
    assert (
        await world.outside.states.create((await world.state(pair.other)).model_copy(update={"tenant": tenant}))
    ).state.status == status
    assert frozen(world) == before
    if status == "purged":
        with pytest.raises(Refused):
            await freeze(store, POLICY)
        assert frozen(world) == before


class Process:
    """A process that stops before each of its effects until a test lets it go on."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self._turn = asyncio.Semaphore(0)
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None

    async def about_to(self, effect: str) -> None:
        self.effects.append(effect)
        self._stopped.set()
        await self._turn.acquire()

    async def start(self, work: Awaitable[Any]) -> None:
        self._task = asyncio.ensure_future(work)
        await self._until_it_stops()

    async def _until_it_stops(self) -> None:
        assert self._task is not None
        stopped = asyncio.ensure_future(self._stopped.wait())
        await asyncio.wait({self._task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()

    async def go(self, effects: int | None = None) -> None:
        """So many effects further, or to the end."""
        assert self._task is not None
        while not self._task.done() and effects != 0:
            effects = effects if effects is None else effects - 1
            self._stopped.clear()
            self._turn.release()
            await self._until_it_stops()
        if self._task.done():
            self._task.result()


class SteppedStore:
    """The world's objects, as one process writes them."""

    def __init__(self, inner: MemoryObjectStore, process: Process) -> None:
        self._inner = inner
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def put(self, key: str, body: bytes, **conditions: Any) -> str:
        await self._process.about_to(f"put {key}")
        return await self._inner.put(key, body, **conditions)

    async def put_chunks(self, key: str, chunks: Any, **conditions: Any) -> str:
        await self._process.about_to(f"put {key}")
        return await self._inner.put_chunks(key, chunks, **conditions)

    async def delete_versions(self, versions: list[ObjectVersion]) -> None:
        if versions:
            await self._process.about_to(f"erase {versions[0].key}")
        await self._inner.delete_versions(versions)


@dataclass
class SteppedPublisher:
    """The world's bus, as one process publishes to it."""

    world: World
    process: Process

    async def publish(self, made: Event) -> None:
        await self.process.about_to(f"publish {made.type}")
        await self.world.bus.publish(made)

    async def publish_raw(self, message: RawMessage) -> None:
        raise AssertionError("no process of this test buries anything")


def stepped(world: World, process: Process) -> Tenancy:
    objects: Any = SteppedStore(world.memory, process)
    return assemble(objects, world._master, SteppedPublisher(world, process), "/stepped", world.clock)


Writer = Callable[["Scene", Tenancy], Awaitable[Any]]


@dataclass
class Scene:
    """A tenant with everything, as it was before writer and purge met. It can be set up again and again."""

    world: World
    tenant: TenantId
    other: TenantId
    digest: str
    approval: events.ExampleApproved
    scratch: Path
    _objects: dict[str, list[Any]] = field(default_factory=dict)
    _topics: dict[str, list[Event]] = field(default_factory=dict)

    @classmethod
    async def made(cls, scratch: Path) -> Scene:
        world = World(scratch)
        tenant, other = await world.onboard(NAME), await world.onboard(OTHER_NAME)
        digest = await learned(world, tenant)
        await learned(world, other, text="b")
        asked = events.TrainingRequested(run_id="run-2", trigger="operator")
        await world.handle(service(world, "training"), event(tenant, asked, world))
        approval = await world.approval(tenant, "e60")
        del world.memory.objects["replicas/replica-0.json"]  # no purge waits for a replica here
        scene = cls(world, tenant, other, digest, approval, scratch)
        scene._objects = {key: list(versions) for key, versions in world.memory.objects.items()}
        scene._topics = {name: list(log) for name, log in world.bus.topics.items()}
        return scene

    def again(self) -> None:
        self.world.memory.objects = {key: list(versions) for key, versions in self._objects.items()}
        self.world.bus.topics = {name: list(log) for name, log in self._topics.items()}

    def event(self, data: events.EventData) -> Event:
        return event(self.tenant, data, self.world)

    async def purge(self, tenancy: Tenancy) -> None:
        """Fence, and go as far as it goes without waiting for late writers to end."""
        driver = PurgeDriver(tenancy, self.world.signer, SETTLE_SECONDS)
        ports = PurgePorts(tenancy, self.world.signer.verifier, driver, lambda: None)
        requested = events.PurgeRequested(purge_id="p1", reason_code="churned", requested_by="op")
        await on_purge_requested(self.event(requested), ports)
        await driver.look()

    async def meet(self, write: Writer, schedule: list[tuple[str, int]]) -> tuple[Process, Process]:
        """Let writer and purge take turns as scheduled, then both run to their end; then the purge is over."""
        self.again()
        started = self.world.now
        before = frozen(self.world, self.other)
        writer, purge = Process(), Process()
        await writer.start(_as_dispatched(write, self, stepped(self.world, writer)))
        await purge.start(self.purge(stepped(self.world, purge)))
        for who, effects in schedule:
            await (writer if who == "writer" else purge).go(effects)
        await writer.go()
        await purge.go()
        for _ in range(4):
            self.world.now += timedelta(seconds=SETTLE_SECONDS + 1)
            await self.world.driver.look()
        await assert_purged(self.world, self.tenant)
        assert frozen(self.world, self.other) == before
        self.world.now = started
        return writer, purge


async def _as_dispatched(write: Writer, scene: Scene, tenancy: Tenancy) -> None:
    """With the runtime's retries: a handler whose data vanishes under it is called again, and is refused then."""
    for _ in range(5):
        try:
            await write(scene, tenancy)
            return
        except (Refused, LeaseLost):
            return
        except Exception:  # noqa: S112 - what counts here is what is left, not how the writer ends
            continue


async def _work(scene: Scene, tenancy: Tenancy) -> None:
    store = await tenancy.store(scene.tenant)
    leases = Leases(store, tenancy.outbox, "worker", scene.world.clock, LEASE_SECONDS)
    await Worker(tenancy, store, scene.world.signer, scene.world.trainer, leases, scene.scratch).attempt("run-2")


WRITERS: dict[str, Writer] = {
    "worker": _work,
    "approval": lambda scene, tenancy: on_example_approved(scene.event(scene.approval), tenancy),
    "consent": lambda scene, tenancy: on_consent_granted(
        scene.event(events.ConsentGranted(consent_id="consent-7", version=1)), tenancy
    ),
    "intake": lambda scene, tenancy: on_training_requested(
        scene.event(events.TrainingRequested(run_id="run-3", trigger="operator")), TrainingPorts(tenancy, lambda: None)
    ),
    "export": lambda scene, tenancy: on_export_requested(
        scene.event(events.ExportRequested(export_id="x9", requested_by="op")),
        ExportPorts(tenancy, scene.world.signer.verifier),
    ),
    "usage": lambda scene, tenancy: on_usage_recorded(
        scene.event(events.UsageRecorded(usage_id="u9", source="inference", prompt_tokens=1)), tenancy
    ),
    "roll back": lambda scene, tenancy: commands.rollback(tenancy, scene.tenant),
    "onboard": lambda scene, tenancy: onboard(tenancy, scene.tenant, POLICY),
}


@pytest.mark.parametrize("name", WRITERS)
async def test_fenced_a_writer_that_meets_a_purge_between_any_two_effects_of_both_leaves_nothing(
    name: str, tmp_path: Path
) -> None:
    scene = await Scene.made(tmp_path)
    alone, purge = await scene.meet(WRITERS[name], [("writer", 1000)])
    assert alone.effects
    assert len(purge.effects) > 6
    assert name != "worker" or len(alone.effects) > 12
    for done in range(len(alone.effects) + 1):
        for purge_done in range(len(purge.effects) + 1):
            await scene.meet(WRITERS[name], [("writer", done), ("purge", purge_done)])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["worker", "export", "approval"]),
    st.lists(st.tuples(st.sampled_from(["writer", "purge"]), st.integers(1, 4)), max_size=12),
)
def test_fenced_in_any_order_of_turns_a_writer_and_a_purge_leave_nothing(
    name: str, schedule: list[tuple[str, int]]
) -> None:
    async def met() -> None:
        with tempfile.TemporaryDirectory() as scratch:
            scene = await Scene.made(Path(scratch))
            await scene.meet(WRITERS[name], schedule)

    asyncio.run(met())


# --- 6. declared


def _topics_in_code() -> set[str]:
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found |= set(re.findall(r"sano\.[a-z]+\.v\d+(?:\.[a-z]+)?", node.value))
    return found


async def test_declared_every_topic_that_code_names_or_the_world_uses_is_in_the_list(pair: Pair) -> None:
    await purged(pair.world, pair.one)
    assert _topics_in_code() <= set(TOPICS)
    assert len(_topics_in_code()) >= 8, "or the search finds nothing"
    assert set(pair.world.bus.topics) <= set(LIVE_TOPICS)
    assert {data.topic for data in events.EVENT_TYPES.values()} == set(LIVE_TOPICS)
    assert {topic for found in pair.world.services for topic in found.topics} <= set(LIVE_TOPICS)


def test_declared_every_topic_has_its_dead_letters_and_they_are_declared_too() -> None:
    for topic in LIVE_TOPICS:
        letters = TOPICS[dead_letter_topic(topic)]
        assert letters.name == f"{topic}.dlq"
        assert letters.privacy == TOPICS[topic].privacy
        assert letters.worst_case_survival_ms() <= TOPICS[topic].worst_case_survival_ms()
    assert set(TOPICS) == {*LIVE_TOPICS, *map(dead_letter_topic, LIVE_TOPICS)}


KEPT_PLACES = ("kept: the purge", "kept: no tenant's data")
KEPT_AND_SAID = ("this certificate and the purge's record", "the tenant's state object")


def place_of(key: str) -> str:
    """The declaration that covers an object: a store that the purge empties, or something that is kept on purpose."""
    area, _, rest = key.partition("/")
    if area in ("tenants", "registry"):
        tenant = rest.partition("/")[0]
        for store in stores(tenant):
            if key.startswith(store.prefix) and (store.prefix.endswith("/") or key == store.prefix):
                relative = key.removeprefix(object_keys.tenant_prefix(tenant))
                assert area == "registry" or object_keys.tenant_key(tenant, relative) == key
                return store.name
    if re.fullmatch(r"purges/[^/]+\.json", key):
        return KEPT_PLACES[0]
    if re.fullmatch(r"replicas/[^/]+\.json", key):
        return KEPT_PLACES[1]
    raise AssertionError(f"{key.partition('/')[0]}/… is declared nowhere")


@contextmanager
def every_name(names: set[str]) -> Iterator[None]:
    """Every key under which anything is ever stored."""
    put = MemoryObjectStore.put

    async def noting(self: MemoryObjectStore, key: str, body: bytes, **conditions: Any) -> str:
        names.add(key)
        return await put(self, key, body, **conditions)

    MemoryObjectStore.put = noting  # type: ignore[method-assign]
    try:
        yield
    finally:
        MemoryObjectStore.put = put  # type: ignore[method-assign]


async def test_declared_every_object_is_emptied_by_the_purge_or_kept_on_purpose(tmp_path: Path) -> None:
    world, names = World(tmp_path), set[str]()
    with every_name(names):
        tenant = await world.onboard(NAME)
        await learned(world, tenant)
        await purged(world, tenant)
    assert {place_of(name) for name in names} == {*(store.name for store in stores(tenant)), *KEPT_PLACES}
    used = {name.split("/")[2] for name in names if name.startswith("tenants/")}
    assert used == set(object_keys.TENANT_AREAS) - {"knowledge"}, "every area but the one that nothing uses yet"
    assert [key for key in world.memory.objects if tenant in key.split("/")] == [object_keys.state_key(tenant)]
    for sentence in KEPT_AND_SAID:
        assert any(sentence in kept for kept in RETAINED), "what is kept is said in the certificate"
    replica = await world.memory.get(object_keys.replica_key("replica-0"))
    assert tenant.encode() not in replica.body


@pytest.mark.parametrize(
    "key", ["cache/t1/x", "tenants/t1", "tenants/t1/cache/x", "registry/t1/other.json", "audit/t1/x", "t1/examples/x"]
)
def test_declared_an_object_elsewhere_would_be_found(key: str) -> None:
    with pytest.raises((AssertionError, object_keys.ForbiddenKey)):
        place_of(key)


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


_WRITTEN: list[str] = []
_WATCHING = False


def _audit(name: str, arguments: tuple[Any, ...]) -> None:
    if not _WATCHING:
        return
    opens = name == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if opens or name == "os.mkdir":
        _WRITTEN.append(str(arguments[0]))
    elif name in {"os.symlink", "os.link"} or name == "os.rename":
        _WRITTEN.append(str(arguments[1]))


@contextmanager
def writes() -> Iterator[list[str]]:
    """Every path that this process creates, opens for writing or renames to, by Python's own audit events."""
    global _WATCHING
    if "audit" not in _HOOKED:
        sys.addaudithook(_audit)  # it cannot be removed again, so it is added once
        _HOOKED.add("audit")
    _WRITTEN.clear()
    _WATCHING = True
    try:
        yield _WRITTEN
    finally:
        _WATCHING = False


_HOOKED: set[str] = set()


async def test_declared_nothing_is_written_outside_the_scratch_directory_and_nothing_stays_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    world = World(scratch)
    tenant = await world.onboard(NAME)
    with writes() as written:
        await learned(world, tenant)
        await purged(world, tenant)
    assert any(path.endswith("adapter_model.safetensors") for path in written), "or nothing was watched"
    assert [path for path in written if not path.startswith(str(scratch))] == []
    assert files_in(elsewhere) == []
    assert files_in(scratch) == []


async def test_declared_a_replica_writes_to_its_adapter_directory_only(tmp_path: Path) -> None:
    root = tmp_path / "adapters" / "replica-0"
    bench = test_fetching.Bench(root)
    await bench.onboard()
    digest = await bench.store(test_fetching.Adapter())
    with writes() as written:
        await bench.files.fetch(test_fetching.TENANT, digest)
        bench.files.remove(digest)
    assert written
    assert [path for path in written if not path.startswith(str(root))] == []
    assert files_in(tmp_path) == []


# --- the world with the real runtime around its handlers


def record_of(made: Event, **changed: Any) -> ConsumerRecord[Any, Any]:
    message = encode(made)
    fields: dict[str, Any] = {
        "topic": message.topic,
        "partition": 0,
        "offset": 7,
        "timestamp": 0,
        "timestamp_type": 1,
        "key": message.key,
        "value": message.value,
        "checksum": None,
        "serialized_key_size": 0,
        "serialized_value_size": 0,
        "headers": tuple(message.headers),
        **changed,
    }
    return ConsumerRecord(**fields)


class DispatchedWorld(World):
    """Handlings go through the dispatcher: with outcomes, dead letters, logs, spans and metrics."""

    def __init__(self, scratch: Path) -> None:
        super().__init__(scratch)
        self.registry, self.spans = CollectorRegistry(), InMemorySpanExporter()
        traces = TracerProvider()
        traces.add_span_processor(SimpleSpanProcessor(self.spans))
        meter = MeterProvider(metric_readers=[PrometheusMetricReader(registry=self.registry)]).get_meter(SCOPE)
        self.telemetry = Telemetry(
            service="world",
            registry=self.registry,
            tracer=traces.get_tracer(SCOPE),
            events=meter.create_counter("sano_events"),
            dead_letters=meter.create_counter("sano_dead_letters"),
            sent_back=meter.create_counter("sano_sent_back"),
            handling=meter.create_histogram("sano_handling_seconds"),
            meter=meter,
        )
        self.errors: list[str] = []

    async def handle(self, found: Service, made: Event) -> Outcome | None:
        return await self.dispatch(found, record_of(made))

    async def dispatch(self, found: Service, record: ConsumerRecord[Any, Any]) -> Outcome | None:
        policy = HandlingPolicy(attempts=2, backoff_seconds=0.0)
        dispatcher = Dispatcher(found.name, found.handlers, self.tenancy, found.ports, self.telemetry, policy)
        try:
            outcome = await dispatcher.handle(record)
        except Poison as poison:
            self.errors.append(str(poison))
            letter = dead_letter(record, code=poison.code, detail=poison.detail, consumer=found.name, now=self.now)
            await self.tenancy.publisher.publish_raw(letter)
            self.telemetry.dead_letters.add(1, {"topic": record.topic, "reason": poison.code})
            if poison.event is not None:
                await dispatcher.record(poison.event, record, Outcome.DEAD_LETTERED)
            outcome = Outcome.DEAD_LETTERED
        if outcome is not None:
            self.outcomes.append((found.name, dict(record.headers)["ce_type"].decode(), outcome))
        return outcome


# --- 8. fail closed


async def _no_content(world: World, tenant: TenantId) -> events.EventData:
    approval = await world.approval(tenant, "e70")
    await (await world.outside.store(tenant)).erase(object_keys.content("e70", 1))
    return approval


async def _broken_seal(world: World, tenant: TenantId) -> events.EventData:
    approval = await world.approval(tenant, "e71")
    key = object_keys.tenant_key(tenant, object_keys.content("e71", 1))
    body = bytearray((await world.memory.get(key)).body)
    body[-1] ^= 1
    await world.memory.put(key, bytes(body))
    return approval


async def _other_text(world: World, tenant: TenantId) -> events.EventData:
    approval = await world.approval(tenant, "e72")
    content = approval.content.model_copy(update={"commitment": "f" * 64})
    return approval.model_copy(update={"content": content})


async def _bad_jwe(world: World, tenant: TenantId) -> events.EventData:
    approval = await world.approval(tenant, "e73")
    jwe = InlineContent(jwe=f"{'e' * 40}.{'e' * 8}.{'e' * 8}.{'e' * 8}.{'e' * 8}")
    return approval.model_copy(update={"content": approval.content.model_copy(update={"reference": jwe})})


async def _unreadable_record(world: World, tenant: TenantId) -> events.EventData:
    await (await world.outside.store(tenant)).put(object_keys.example("e74"), b'{"example_id": 1}')
    return events.ExampleRejected(example_id="e74", version=1, reviewer_id="rev-1", reason_code="unclear")


async def _foreign_record(world: World, tenant: TenantId) -> events.EventData:
    other = await world.outside.store(TenantId(OTHER_NAME))
    await other.put_record(
        object_keys.example("e75"),
        ExampleRecord(example_id="e75", version=1, status="approved", decided_at=world.now, event_id="x"),
    )
    stored = await world.memory.get(object_keys.tenant_key(OTHER_NAME, object_keys.example("e75")))
    await world.memory.put(object_keys.tenant_key(tenant, object_keys.example("e75")), stored.body)
    return events.ExampleWithdrawn(example_id="e75", reason_code="patient-request")


def _given(data: events.EventData) -> Callable[[World, TenantId], Awaitable[events.EventData]]:
    async def made(world: World, tenant: TenantId) -> events.EventData:
        return data

    return made


CLOSED: dict[str, tuple[Callable[[World, TenantId], Awaitable[events.EventData]], str, str]] = {
    "content that was not uploaded": (_no_content, "curation", "no-content"),
    "content with a changed byte": (_broken_seal, "curation", "seal-broken"),
    "content that the reviewer did not approve": (_other_text, "curation", "commitment-mismatch"),
    "inline content for nobody": (_bad_jwe, "curation", "seal-broken"),
    "a record that is none": (_unreadable_record, "curation", "seal-broken"),
    "a record of another tenant": (_foreign_record, "curation", "seal-broken"),
    "an adapter that was not published": (
        _given(events.AdapterReady(adapter_digest="f" * 64, run_id="r", base_model_digest="b" * 64, size_bytes=1)),
        "adapters",
        "unknown-adapter",
    ),
    "an export of what is not there": (
        _given(events.ExportRequested(export_id="x7", adapter_digest="f" * 64, requested_by="op")),
        "export",
        "unknown-adapter",
    ),
    "a receipt that nobody signed": (
        _given(events.ReplicaEvicted(replica_id="replica-0", cause_id="p1", receipt={})),
        "purge",
        "bad-signature",
    ),
}


@pytest.fixture
async def dispatched(tmp_path: Path) -> DispatchedWorld:
    world = DispatchedWorld(tmp_path)
    for name in (NAME, OTHER_NAME):
        await learned(world, await world.onboard(name), text=name)
    assert world.bus.dead == []
    return world


def _assert_buried(world: World, made: Event, code: str) -> None:
    """The message lies in its dead-letter topic as it came, with the reason."""
    letter, message = world.bus.dead[-1], encode(made)
    assert letter.topic == dead_letter_topic(made.topic)
    assert (letter.key, letter.value) == (message.key, message.value)
    assert list(letter.headers[: len(message.headers)]) == list(message.headers)
    assert dict(letter.headers)["dlq_reason"] == code.encode()


@pytest.mark.parametrize("what", CLOSED)
async def test_fail_closed_what_cannot_be_trusted_is_refused_for_a_reason_and_not_lost(
    dispatched: DispatchedWorld, what: str
) -> None:
    make, name, code = CLOSED[what]
    tenant = TenantId(NAME)
    made = event(tenant, await make(dispatched, tenant), dispatched)
    before = frozen(dispatched)
    assert await dispatched.handle(service(dispatched, name), made) is Outcome.DEAD_LETTERED
    _assert_buried(dispatched, made, code)
    assert frozen(dispatched) == before
    recorded = dispatched.bus.topics[events.OUTCOMES][-1].data
    assert isinstance(recorded, events.OutcomeRecorded)
    assert (recorded.event_id, recorded.outcome) == (made.id, Outcome.DEAD_LETTERED)


async def test_fail_closed_an_unknown_tenant_gets_nothing_by_any_event(dispatched: DispatchedWorld) -> None:
    stranger = TenantId("stranger")
    approval = (await dispatched.approval(TenantId(NAME), "e80")).model_copy()
    before = frozen(dispatched)
    for data in samples(dispatched, stranger, "f" * 64, approval):
        made = event(stranger, data, dispatched)
        for found in dispatched.services:
            dispatched.bus.dead.clear()
            outcome = await dispatched.handle(found, made)
            assert outcome in (None, Outcome.DEAD_LETTERED, Outcome.NOOP_DUPLICATE, Outcome.NOOP_STALE), data.type
            if outcome is Outcome.DEAD_LETTERED:
                _assert_buried(dispatched, made, "unknown-tenant")
            elif outcome is not None:
                assert data.type not in REFUSED_AFTER_A_PURGE
    assert frozen(dispatched) == before


async def test_fail_closed_without_its_key_nothing_is_done_for_a_tenant(dispatched: DispatchedWorld) -> None:
    tenant = TenantId(NAME)
    approval = await dispatched.approval(tenant, "e81")
    await dispatched.outside.keys.destroy(tenant)
    before = frozen(dispatched)
    for data in (
        approval,
        events.TrainingRequested(run_id="r9", trigger="operator"),
        events.UsageRecorded(usage_id="u", source="storage"),
    ):
        owner = next(found for found in dispatched.services if type(data) in found.handlers)
        assert await dispatched.handle(owner, event(tenant, data, dispatched)) is Outcome.REFUSED_PURGED
    assert frozen(dispatched) == before


@pytest.mark.parametrize(
    ("break_it", "reason"), [("text", "commitment-mismatch"), ("seal", "seal-broken"), ("few", "too-few-examples")]
)
async def test_fail_closed_a_training_set_that_is_not_what_was_approved_is_never_trained_on(
    dispatched: DispatchedWorld, break_it: str, reason: str
) -> None:
    world, tenant = dispatched, TenantId(NAME)
    store = await world.outside.store(tenant)
    key = object_keys.content("e1", 1)
    if break_it == "text":
        content, _ = await store.get_record(key, ExampleContent)
        await store.put_record(key, content.model_copy(update={"salt": "0" * 64}))
    elif break_it == "seal":
        await world.memory.put(object_keys.tenant_key(tenant, key), b"SANO1 nothing")
    else:
        await world.publish(tenant, events.ConsentRevoked(consent_id="consent-1", version=2))
    active, trained = (await world.state(tenant)).active_adapter, list(world.trainer.trained)
    await world.publish(tenant, events.TrainingRequested(run_id="run-9", trigger="operator"))
    await world.settle()
    run = (await world.state(tenant)).runs["run-9"]
    assert (run.status, run.reason_code) == ("rejected", reason)
    assert world.trainer.trained == trained
    assert (await world.state(tenant)).active_adapter == active, "what was there goes on serving"
    rejected = [
        made.data for made in world.bus.topics[events.TRAINING] if isinstance(made.data, events.TrainingRejected)
    ]
    assert rejected == [events.TrainingRejected(run_id="run-9", reason_code=reason)]


# --- 9. quiet

CANARY = "canary-8841"
REVIEWER = "reviewer-canary-7712"
TOKEN_TENANT = TenantId(NAME)


@contextmanager
def log_lines() -> Iterator[io.StringIO]:
    """Everything that our loggers say, with all its fields and tracebacks."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter("{levelname}{name}{message}", style="{"))
    logger = logging.getLogger(SCOPE)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield out
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _content(example_id: str) -> ExampleContent:
    return ExampleContent(
        messages=(
            ChatMessage(role="system", content=f"house rule {CANARY}"),
            ChatMessage(role="user", content=f"Frau Müller, MRN {CANARY}, {example_id}"),
            ChatMessage(role="assistant", content=f"The answer about {CANARY}, {example_id}"),
        ),
        salt=secrets.token_hex(32),
    )


async def _approval(world: World, tenant: TenantId, example_id: str, *, inline: bool = False) -> events.ExampleApproved:
    content = _content(example_id)
    store = await world.outside.store(tenant)
    if inline:
        reference: ClaimCheck | InlineContent = InlineContent(jwe=encrypt_inline(store.keys.public_key, content))
    else:
        await store.put_record(object_keys.content(example_id, 1), content)
        reference = ClaimCheck(example_id=example_id, version=1)
    return events.ExampleApproved(
        example_id=example_id,
        version=1,
        reviewer_id=REVIEWER,
        consent_id="consent-1",
        content=Committed(reference=reference, commitment=content.commitment()),
    )


async def _whole_loop_with_canaries(world: DispatchedWorld, tenant: TenantId) -> list[bytes]:
    """The loop, and everything that can go wrong in it; returns every object body that ever was."""
    bodies: list[bytes] = []
    put = world.memory.put

    async def kept(key: str, body: bytes, **conditions: Any) -> str:
        bodies.append(bytes(body))
        return await put(key, body, **conditions)

    world.memory.put = kept  # type: ignore[method-assign]
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for number in range(3):
        await world.publish(tenant, await _approval(world, tenant, f"e{number}", inline=number == 2))
    await world.publish(
        tenant, events.ExampleRejected(example_id="e8", version=1, reviewer_id=REVIEWER, reason_code="unclear")
    )
    await world.settle()
    active = (await world.state(tenant)).active_adapter
    assert active is not None
    async with world.placement.held(tenant, active):
        pass
    await world.publish(tenant, events.ExportRequested(export_id="x1", requested_by="op"))
    # What goes wrong: an approval of other words, an unreadable value, a training that fails on what it reads.
    wrong = await _approval(world, tenant, "e20")
    await world.publish(
        tenant, wrong.model_copy(update={"content": wrong.content.model_copy(update={"commitment": "f" * 64})})
    )
    foreign = await _approval(world, TenantId(OTHER_NAME), "e21", inline=True)
    await world.publish(tenant, foreign)
    await world.settle()
    unreadable = record_of(
        event(tenant, wrong, world), value=json.dumps({"example_id": CANARY, CANARY: CANARY}).encode()
    )
    await world.dispatch(service(world, "curation"), unreadable)

    def fails(*arguments: Any) -> Any:
        raise ValueError(f"cannot train on {CANARY}")

    world.trainer.train = fails  # type: ignore[method-assign,assignment]
    await world.publish(tenant, events.TrainingRequested(run_id="run-9", trigger="operator"))
    await world.settle()
    assert (await world.state(tenant)).runs["run-9"].status == "failed"
    await world.publish(tenant, events.TenantChurned(requested_by="op"))
    await world.settle()
    await assert_purged(world, tenant)
    return bodies


async def test_quiet_what_people_wrote_is_nowhere_but_sealed(tmp_path: Path) -> None:
    world = DispatchedWorld(tmp_path)
    tenant = await world.onboard(NAME)
    await world.onboard(OTHER_NAME)
    names: set[str] = set()
    with log_lines() as log, every_name(names):
        bodies = await _whole_loop_with_canaries(world, tenant)
    said = log.getvalue()
    spans = [span.to_json() for span in world.spans.get_finished_spans()]
    metrics = generate_latest(world.registry).decode()
    messages = [encode(made) for logged in world.bus.topics.values() for made in logged]
    headers = [dict(message.headers) for message in messages]

    # Something was looked at.
    assert world.trainer.trained
    assert {"attempt failed", "handled", "purge step"} <= {json.loads(line)["message"] for line in said.splitlines()}
    assert len(spans) > 10
    assert "sano_events_total" in metrics
    assert len(world.bus.dead) == 3
    assert len(names) > 20
    assert world.errors

    # Nowhere in clear: neither contents nor what would lead to them.
    assert all(CANARY.encode() not in body for body in bodies)
    for place in (said, *spans, metrics, *names, *world.errors):
        assert CANARY not in place
    for message, header in zip(messages, headers, strict=True):
        assert CANARY.encode() not in message.value + message.key + b"".join(header.values())
    # Who reviewed is in the events' bodies and the sealed records, and in no name, label, header or log.
    for place in (said, *spans, metrics, *names, *world.errors, repr(headers)):
        assert REVIEWER not in place
    assert any(REVIEWER.encode() in message.value for message in messages)
    # No tenant in a label, an attribute or a log line.
    for place in (said, *spans, metrics):
        assert NAME not in place
    # A dead letter keeps what its sender wrote, and our own words about it say nothing of that.
    for letter in world.bus.dead:
        reasons = b"".join(value or b"" for name, value in letter.headers if name in REASON_HEADERS)
        assert CANARY.encode() not in reasons


async def test_quiet_a_token_is_in_no_error_that_refuses_it() -> None:
    ours, theirs = Signer(Ed25519PrivateKey.generate()), Signer(Ed25519PrivateKey.generate())
    token = TokenIssuer(theirs).issue(TenantId(NAME))
    with pytest.raises(BadToken) as refused:
        TokenVerifier(ours.verifier).tenant(token)
    assert token not in str(refused.value) + repr(refused.value)
    assert token.split(".")[1] not in str(refused.value)
