"""The world in a state worth breaking into, for every file of invariants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRecord
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from consumers.runtime.dead_letters import Reason, dead_letter
from consumers.runtime.dispatch import Dispatcher
from consumers.runtime.poison import Poison
from consumers.runtime.policy import HandlingPolicy
from consumers.runtime.signatures import Signatures
from schemas.bus import events
from schemas.bus.envelope import DataT, Event
from schemas.bus.outcome import Outcome
from schemas.evidence.statements import EVICTION_PREDICATE, EvictionReceipt, eviction_subject, statement
from schemas.objects import object_keys
from schemas.objects.terms import Rescan, Term
from tenancy.bus import Publisher
from tenancy.evidence.event_signatures import EventVerifier
from tenancy.lifecycle.terms import change_terms
from tenancy.state.open_work import announce
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.event_keys import EventKeys
from tests.fixtures.records import record_of
from tests.fixtures.telemetry import observed
from tests.world.bus import Service
from tests.world.signed_bus import publisher_of, who_may_publish
from tests.world.world import POLICY, World

NAME, OTHER_NAME = "tenant-one", "tenant-one0"  # one is a prefix of the other


async def learned(world: World, tenant: TenantId, text: str = "a") -> str:
    """Take a tenant through the whole loop, everything declared used; returns its active, loaded adapter."""
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for number in range(3):
        await world.publish(tenant, await world.approval(tenant, f"e{number}", text=text))
    await world.publish(
        tenant, events.ExampleRejected(example_id="e8", version=1, reviewer_id="rev-1", reason_code="unclear")
    )
    proposed = world.proposal(tenant, "e7")
    await world.publish(tenant, proposed)
    await world.publish(tenant, world.review(proposed, "rev-1", "rejected"))
    for example_id in ("e8", "e9"):
        await world.publish(tenant, events.ExampleWithdrawn(example_id=example_id, reason_code="patient-request"))
    await world.publish(tenant, events.UsageRecorded(usage_id="u1", source="inference", prompt_tokens=3))
    await _searched_for(world, tenant, Term(text="Okonkwo"))
    await world.settle()
    await world.publish(tenant, events.ExportRequested(export_id="x1", requested_by="op"))
    await world.settle()
    active = await world.served(tenant)
    await world.settle()  # the load is entered into the audit log beside the events
    return active


async def _searched_for(world: World, tenant: TenantId, term: Term) -> None:
    """A term of the tenant, and the search for it, as a reviewer's mark leaves them; no text has it."""
    store = await world.outside.store(tenant)
    await announce(world.outside.objects, "rescans", tenant)
    await change_terms(store, lambda held: held.evolve(terms=(term,)))
    search = Rescan(term=term, example_id="e0", reviewer_id="rev-1", asked_at=world.now)
    await store.put_record(object_keys.rescan("s1"), search)


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
    assert object_keys.certificate_key(tenant, state.purge.purge_id) in world.memory.objects


def frozen(world: World, tenant: TenantId | None = None) -> dict[str, list[str]]:
    """Every object version, of one tenant or of everybody; but for the markers of logs that wait to be signed."""
    return {
        key: [version.version_id for version in versions]
        for key, versions in world.memory.objects.items()
        if (tenant is None or f"/{tenant}/" in key) and not key.startswith(object_keys.open_work_prefix("audit"))
    }


def service(world: World, name: str) -> Service:
    return next(found for found in world.services if found.name == name)


def event(tenant: TenantId | str, data: DataT, world: World) -> Event[DataT]:
    return Event(subject=tenant, data=data, time=world.now, source="/test")


def receipt(
    world: World,
    tenant: str,
    *,
    replica: str = "replica-0",
    cause: str = "p1",
    signer: AllKeys | None = None,
    **said: Any,
) -> dict[str, Any]:
    """What a replica signed; by the world's server unless ``said`` gives another ``incarnation``."""
    data = {
        "replica_id": replica,
        "incarnation": world.lease.incarnation,
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
    return (signer or world.keys).sign(statement(EVICTION_PREDICATE, eviction_subject(replica, cause), made))


@dataclass(frozen=True)
class Pair:
    """Two tenants that have learned, each with an adapter of its own."""

    world: World
    one: TenantId
    other: TenantId
    digest: str
    foreign: str


def samples(world: World, tenant: TenantId, digest: str, approval: events.ExampleApproved) -> list[events.EventData]:
    """One event of every type that anything reacts to; each would have an effect on a tenant that is alive or,
    the onboarding, on one that nobody knows."""
    return [
        approval,
        world.proposal(tenant, "e52"),
        world.review(world.proposal(tenant, "e53"), "rev-1"),
        events.ExampleRejected(example_id="e50", version=1, reviewer_id="rev-1", reason_code="unclear"),
        events.ExampleWithdrawn(example_id="e51", reason_code="patient-request"),
        world.returned(approval),
        events.ConsentGranted(consent_id="consent-9", version=1),
        events.ConsentRevoked(consent_id="consent-1", version=2),
        events.TrainingRequested(run_id="r50", trigger="operator"),
        events.AdapterReady(adapter_digest=digest, run_id="batch-1", base_model_digest="b" * 64, size_bytes=1),
        events.AdapterActivated(adapter_digest=digest, previous_digest=None, activation=7),
        events.AdapterRolledBack(adapter_digest=None, previous_digest=digest, activation=8),
        events.AdapterRetired(adapter_digest=digest, reason_code="superseded"),
        events.ExportRequested(export_id="x50", adapter_digest=digest, requested_by="op"),
        world.document(tenant, "d50"),
        events.DocumentRemoved(document_id="d51", version=1),
        events.UsageRecorded(usage_id="u50", source="inference", prompt_tokens=1),
        events.ExportAcknowledged(export_id="p50", adapter_digest=digest, acknowledged_by="op"),
        events.PolicyChanged(version=9, policy=POLICY),
        events.TenantChurned(requested_by="op"),
        events.PurgeRequested(purge_id="p50", reason_code="churned", requested_by="op"),
        events.PurgeFenced(purge_id="p50", fenced_at=world.now, deadline=world.now),
        events.ReplicaEvicted(replica_id="replica-0", cause_id="p50", receipt=receipt(world, tenant, cause="p50")),
        # What nobody but the audit log listens to.
        events.TenantOnboarded(policy=POLICY, public_key_thumbprint="k" * 43),
        events.ExportReady(export_id="x50", adapter_digest=digest, files=("adapter_config.json",)),
        events.PurgeAtRisk(purge_id="p50", percent=50),
        events.PurgeOverdue(purge_id="p50"),
        events.PurgeCompleted(purge_id="p50", objects_removed=1, residual=0, certificate_sha256="c" * 64),
        events.TrainingStarted(run_id="r50", fence=9),
        events.TrainingCompleted(run_id="r50", fence=9, training_set_id="a" * 64, adapter_digest=digest),
        events.TrainingRejected(run_id="r51", reason_code="too-few-examples"),
        events.TrainingFailed(run_id="r52", attempts=3, reason_code="worker-died"),
        events.OutcomeRecorded(
            event_id="x", event_type="sano.usage.recorded", consumer="ledger", outcome=Outcome.EFFECT, delivery="t/0/1"
        ),
    ]


REFUSED_AFTER_A_PURGE = {
    "sano.example.proposed",
    "sano.example.reviewed",
    "sano.tenant.onboarded",
    "sano.tenant.policy_changed",
    "sano.example.approved",
    "sano.example.rejected",
    "sano.example.returned",
    "sano.example.withdrawn",
    "sano.consent.granted",
    "sano.consent.revoked",
    "sano.training.requested",
    "sano.adapter.ready",
    "sano.export.requested",
    "sano.usage.recorded",
    "sano.document.upserted",
    "sano.document.removed",
}


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


# --- the world with the real runtime around its handlers


class DispatchedWorld(World):
    """Handlings go through the dispatcher: with signatures, outcomes, dead letters, logs, spans and metrics.

    ``unsigned_are_refused``: everybody signs, and the installation says so.
    """

    def __init__(self, scratch: Path, *, unsigned_are_refused: bool = False) -> None:
        self.event_keys = EventKeys(self.clock)
        super().__init__(scratch)
        self.signatures = Signatures(EventVerifier(self.event_keys.trust(), self.clock), unsigned_are_refused)
        self._reporting = {found.name: self._of(found.name) for found in self.services}
        self.registry, self.spans = CollectorRegistry(), InMemorySpanExporter()
        metrics = PrometheusMetricReader(registry=self.registry)
        self.telemetry = observed("world", self.spans, metrics, self.registry)
        self.errors: list[str] = []

    def _publisher_of(self, process: str) -> Publisher:
        return publisher_of(process, self.bus, self.event_keys)

    async def publish(self, tenant: TenantId, data: DataT, *, by: str | None = None) -> Event[DataT]:
        """Signed by somebody who may publish it, or ``by`` another; unsigned by anybody else."""
        made = Event(subject=tenant, data=data, time=self.now, source="/test")
        await publisher_of(by or who_may_publish(made), self.bus, self.event_keys).publish(made)
        return made

    async def handle(self, found: Service, made: Event) -> Outcome | None:
        record = record_of(made, timestamp=int(self.now.timestamp() * 1000))
        return await self.dispatch(found, replace(record, headers=(*record.headers, *self.bus.signature_of(made))))

    async def dispatch(self, found: Service, record: ConsumerRecord[Any, Any]) -> Outcome | None:
        policy = HandlingPolicy(attempts=2, backoff_seconds=0.0)
        tenancy, telemetry = self._reporting[found.name], self.telemetry
        dispatcher = Dispatcher(
            found.name, found.handlers, tenancy, found.ports, telemetry, policy, signatures=self.signatures
        )
        try:
            outcome = await dispatcher.handle(record)
        except Poison as poison:
            self.errors.append(str(poison))
            letter = dead_letter(record, Reason(poison.code, poison.detail, found.name, self.now))
            await self.tenancy.publisher.publish_raw(letter)
            self.telemetry.dead_letters.add(1, {"topic": record.topic, "reason": poison.code})
            if poison.event is not None:
                await dispatcher.record(poison.event, record, Outcome.DEAD_LETTERED)
            outcome = Outcome.DEAD_LETTERED
        if outcome is not None:
            event_type = (dict(record.headers).get("ce_type") or b"").decode(errors="replace")
            self.outcomes.append((found.name, event_type, outcome))
        return outcome
