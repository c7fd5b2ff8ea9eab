"""The world: every consumer's real handlers, runner, worker and driver, on an in-memory store and bus.

Each service reads its topics from a position of its own and may die at any effect; then its position stays where it
was and the event comes again, as on Kafka. Nothing sleeps: time is a number that tests move.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from joserfc.jwk import OKPKey

from consumers.adapters import app as adapters_app
from consumers.adapters.handlers import AdaptersPorts
from consumers.adapters.withdrawals import WithdrawalReconciler
from consumers.curation import app as curation_app
from consumers.curation.rescans import RescanReconciler
from consumers.export import app as export_app
from consumers.export.handlers import ExportPorts
from consumers.knowledge import app as knowledge_app
from consumers.knowledge.ports import KnowledgePorts
from consumers.ledger import app as ledger_app
from consumers.ledger.keeper import AuditKeeper
from consumers.ledger.ports import LedgerPorts
from consumers.purge import app as purge_app
from consumers.purge.driver import PurgeReconciler
from consumers.purge.handlers import PurgePorts
from consumers.purge.policy import PurgePolicy
from consumers.purge.watchdog import Watchdog
from consumers.runtime.runs import InRuns
from consumers.training import app as training_app
from consumers.training.handlers import TrainingPorts
from consumers.training.runner import Runner
from consumers.training.worker import Worker
from inference import wiring
from schemas.base.redaction import IdentifierType
from schemas.bus import events
from schemas.bus.content import (
    ChatMessage,
    ClaimCheck,
    Committed,
    CommittedDocument,
    CommittedInline,
    DocumentBlock,
    DocumentContent,
    ExampleContent,
    InlineContent,
)
from schemas.bus.envelope import DataT, Event
from schemas.bus.outcome import Outcome
from schemas.bus.redaction import Redaction, SpanCount
from schemas.bus.topics import LIVE_TOPICS
from schemas.objects.object_keys import content as content_key
from schemas.objects.state import TenantState
from schemas.tenant.policy import TenantPolicy
from tenancy.audit.checkpoints import Checkpointer
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import Publisher
from tenancy.errors import KeyDestroyed, LeaseHeld, LeaseLost, Refused, TenantFenced, Transient
from tenancy.lifecycle.replicas import Replicas
from tenancy.state.leases import Leases
from tenancy.storage.keys import encrypt_inline
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.storage.objects import ObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.embedders import WordEmbedder
from tests.fixtures.gates import GATE, gate_of_tests
from tests.world.bus import Bus, Service
from tests.world.crashes import CrashAt, SimulatedCrash
from tests.world.effects import ObservedObjectStore, ObservedPublisher
from tests.world.fakes import FakeTrainer
from tests.world.server import Server

START = datetime(2026, 1, 1, tzinfo=UTC)
LEASE_SECONDS = 30.0
QUIESCE_SECONDS = 65.0
PURGE = PurgePolicy(quiesce_seconds=QUIESCE_SECONDS)
POLICY = TenantPolicy(min_new_examples=3, min_training_examples=2)


class KeepsFailing(AssertionError):
    """A transient error did not pass. On Kafka the event would come again, and again."""


class World:
    """See the module. ``crash`` sees every effect of every process. ``objects``: a store in the memory's place."""

    def __init__(self, scratch: Path, crash: CrashAt | None = None, objects: ObjectStore | None = None) -> None:
        self.crash = crash or CrashAt()
        self.now = START
        self.scratch = scratch
        self.memory = MemoryObjectStore()
        self.objects: ObjectStore = objects or self.memory
        self.bus = Bus()
        self.keys = AllKeys.made()
        self.trainer = FakeTrainer()
        self.outcomes: list[tuple[str, str, Outcome]] = []
        self.pending: list[tuple[TenantId, str]] = []
        self.tenancies: list[Tenancy] = []
        self.public_keys: dict[TenantId, OKPKey] = {}
        self._master = KeyFileMasterKey(secrets.token_bytes(32))
        self.outside = assemble(self.objects, self._master, self.bus, "/test", self.clock, self.seconds)
        self.tenancy = self._of("somebody")
        self._usage_ids = (f"use-{number}" for number in itertools.count())
        self._start_server()
        self.services = self._services()

    def clock(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def _of(self, process: str) -> Tenancy:
        """What one process acts through. Every effect of it may be its last."""
        observer = self.crash.of(process)
        objects = ObservedObjectStore(self.objects, observer)
        publisher = ObservedPublisher(self._publisher_of(process), observer)
        self.tenancies.append(assemble(objects, self._master, publisher, "/world", self.clock, self.seconds))
        return self.tenancies[-1]

    def _publisher_of(self, process: str) -> Publisher:
        return self.bus

    def _start_server(self) -> None:
        """A new process of the replica, which holds nothing of what an earlier one did."""
        self.server = server = Server(self._of("inference"), self.keys, lambda: next(self._usage_ids))
        self.engine, self.files, self.lease = server.engine, server.files, server.lease
        self.placement, self.views, self.load_audit = server.placement, server.views, server.load_audit

    def _services(self) -> list[Service]:
        self.runner = Runner(
            self._of("training"), self, self.scratch, LEASE_SECONDS, 0.0, QUIESCE_SECONDS, now=self.seconds
        )
        purging = self._of("purge")
        self.driver = PurgeReconciler(purging, self.keys, PURGE, now=self.seconds)
        self.watchdog = Watchdog(self.driver)
        keeping = self._of("ledger")
        checkpointer = Checkpointer(keeping.audit, self.keys)
        self.keeper = AuditKeeper(keeping, checkpointer, QUIESCE_SECONDS, now=self.seconds)
        self.rescans = RescanReconciler(self._of("curation"), QUIESCE_SECONDS, now=self.seconds, at_once=2)
        activating, exporting = self._of("adapters"), self._of("export")
        replicas = Replicas(activating.objects, self.clock, PURGE.replica_answer_seconds)
        self.withdrawals = WithdrawalReconciler(
            activating, self.keys.certificate, replicas, QUIESCE_SECONDS, now=self.seconds
        )
        adapters = AdaptersPorts(activating, self.keys.trust, lambda: None)
        intake = TrainingPorts(self._of("training"), lambda: None)
        purge = PurgePorts(purging, self.keys.trust, self.driver, lambda: None)
        return [
            Service("curation", curation_app.handlers_with(gate_of_tests), (events.CURATION,), self._of("curation")),
            Service("training", training_app.HANDLERS, (events.TRAINING,), intake),
            Service("adapters", adapters_app.HANDLERS, (events.ADAPTERS, events.REPLICAS), adapters),
            Service("export", export_app.HANDLERS, (events.TENANTS,), ExportPorts(exporting, self.keys.trust)),
            Service("knowledge", knowledge_app.HANDLERS, (events.KNOWLEDGE,), self._knowledge()),
            Service("purge", purge_app.HANDLERS, (events.TENANTS, events.REPLICAS), purge),
            Service("ledger", ledger_app.HANDLERS, LIVE_TOPICS, LedgerPorts(keeping, checkpointer, 8)),
            Service("inference", wiring.HANDLERS, (events.ADAPTERS, events.TENANTS), self.server.agent),
        ]

    def _knowledge(self) -> KnowledgePorts:
        embedder = WordEmbedder()

        async def opened() -> WordEmbedder:
            return embedder

        return KnowledgePorts(self._of("knowledge"), opened, gate_of_tests)

    # The training launcher: attempts are worked on when the world steps.

    async def look(self) -> Self:
        return self

    def has_capacity(self) -> bool:
        return True

    def is_running(self, tenant: TenantId, run_id: str) -> bool:
        return (tenant, run_id) in self.pending

    async def start(self, tenant: TenantId, run_id: str, attempt: int) -> None:
        self.pending.append((tenant, run_id))

    # What tests do from outside.

    async def onboard(self, name: str, policy: TenantPolicy = POLICY) -> TenantId:
        tenant = TenantId(name)
        self.public_keys[tenant] = (await self.outside.keys.create(tenant)).public_key
        await self.outside.states.create(TenantState(tenant=tenant, nonce="first", policy=policy))
        return tenant

    def document(
        self, tenant: TenantId, document_id: str, version: int = 1, text: str = "5 mg"
    ) -> events.DocumentUpserted:
        """A document that comes inline."""
        key = self.public_keys.get(tenant) or OKPKey.generate_key("X25519")
        content = DocumentContent(title="Dose", blocks=(DocumentBlock(kind="text", text=text),), salt="5" * 64)
        return events.DocumentUpserted(
            document_id=document_id,
            version=version,
            content=CommittedDocument(
                reference=InlineContent(jwe=encrypt_inline(key, content)),
                commitment=content.commitment(),
            ),
        )

    async def publish(self, tenant: TenantId, data: DataT) -> Event[DataT]:
        event = Event(subject=tenant, data=data, time=self.now, source="/test")
        await self.bus.publish(event)
        return event

    def salt(self, tenant: TenantId, example_id: str, version: int) -> str:
        """The salt of an example's commitment."""
        return secrets.token_hex(32)

    async def approval(
        self, tenant: TenantId, example_id: str, *, version: int = 1, consent: str | None = "consent-1", text: str = "a"
    ) -> events.ExampleApproved:
        """An approval whose content is uploaded already."""
        content = ExampleContent(
            messages=(
                ChatMessage(role="user", content=f"question {example_id}"),
                ChatMessage(role="assistant", content=f"answer {text} {example_id} {version}"),
            ),
            salt=self.salt(tenant, example_id, version),
        )
        store = await self.outside.store(tenant)
        await store.put_record(content_key(example_id, version), content)
        return events.ExampleApproved(
            example_id=example_id,
            version=version,
            reviewer_id="rev-1",
            consent_id=consent,
            content=Committed(
                reference=ClaimCheck(example_id=example_id, version=version), commitment=content.commitment()
            ),
        )

    def proposal(
        self,
        tenant: TenantId,
        example_id: str,
        *,
        version: int = 1,
        consent: str | None = "consent-1",
        text: str = "answer",
    ) -> events.ExampleProposed:
        """A redacted text, encrypted to the tenant, as a source proposes it; to nobody where there is no tenant."""
        content = ExampleContent(
            messages=(
                ChatMessage(role="user", content=f"question {example_id}"),
                ChatMessage(role="assistant", content=f"{text} {example_id} {version}"),
            ),
            salt=self.salt(tenant, example_id, version),
        )
        key = self.public_keys.get(tenant) or OKPKey.generate_key("X25519")
        return events.ExampleProposed(
            example_id=example_id,
            version=version,
            source="file",
            consent_id=consent,
            redaction=Redaction.of(GATE.redact(content.messages).report),
            content=CommittedInline(
                reference=InlineContent(jwe=encrypt_inline(key, content)), commitment=content.commitment()
            ),
        )

    def review(
        self, of: events.ExampleProposed, reviewer: str, verdict: events.Verdict = "approved"
    ) -> events.ExampleReviewed:
        """A reviewer's verdict on what was proposed."""
        return events.ExampleReviewed(
            example_id=of.example_id,
            version=of.version,
            reviewer_id=reviewer,
            verdict=verdict,
            reason_code="unclear" if verdict == "rejected" else None,
            commitment=of.content.commitment,
        )

    def returned(self, approval: events.ExampleApproved) -> events.ExampleReturned:
        """What a worker says whose gate found something in an approved text."""
        return events.ExampleReturned(
            example_id=approval.example_id,
            version=approval.version,
            commitment=approval.content.commitment,
            run_id="r50",
            fence=9,
            redaction=Redaction(gate="test-gate", version="2", counts=(SpanCount(kind=IdentifierType.MRN, count=1),)),
        )

    async def handle(self, service: Service, event: Event) -> Outcome | None:
        """One handling, as the runtime does it, without its retries of what is not transient."""
        handler = service.handlers.get(type(event.data))
        if handler is None:
            return None
        for _ in range(5):
            try:
                outcome = await handler(event, service.ports)
                break
            except Transient:
                continue
            except (TenantFenced, KeyDestroyed):
                outcome = Outcome.REFUSED_PURGED
                break
        else:
            raise KeepsFailing
        self.outcomes.append((service.name, event.type, outcome))
        return outcome

    async def handle_run(self, service: Service, run: Sequence[Event]) -> Sequence[Outcome]:
        """One handling of several like events of a tenant; none where the first is to be handled by itself."""
        handler = service.handlers.get(type(run[0].data))
        if not isinstance(handler, InRuns) or len(run) < 2:
            return []
        try:
            outcomes = await handler.several(run, service.ports)
        except TenantFenced:
            outcomes = [Outcome.REFUSED_PURGED] * len(run)
        except (Transient, Refused):
            return []
        told = zip(run, outcomes, strict=False)
        self.outcomes.extend((service.name, event.type, outcome) for event, outcome in told)
        return outcomes

    async def step(self) -> bool:
        """Everything once; whether anything happened. A crash leaves the event where it was."""
        await self._serve(self.server.keep_lease)
        moved = await self.deliver()
        before = len(self.crash.effects)
        await self._periodic(self.runner.reconcile)
        while self.pending:
            moved = True
            await self._work(*self.pending.pop(0))
        await self._periodic(self.rescans.reconcile)
        await self._periodic(self.withdrawals.reconcile)
        await self._periodic(self._drive)
        await self._serve(self.server.reporter.report)
        await self._serve(self.load_audit.enter)
        moved = moved or len(self.crash.effects) > before
        if not moved:  # the keeper comes by seldom
            await self._periodic(self.keeper.reconcile)
        return moved or len(self.crash.effects) > before

    async def deliver(self) -> bool:
        """The next event of each topic to each of its consumers; whether there was any."""
        moved = False
        for service in self.services:
            for topic in service.topics:
                log = self.bus.topics.get(topic, [])
                position = service.positions.get(topic, 0)
                if position < len(log):
                    moved = True
                    self.crash.begin_turn()
                    try:
                        await self.handle(service, log[position])
                    except SimulatedCrash:
                        if service.name == "inference":
                            self.restart_server()
                        continue
                    service.positions[topic] = position + 1
        return moved

    async def _periodic(self, work: Any) -> None:
        self.crash.begin_turn()
        try:
            await work()
        except SimulatedCrash:
            return

    async def _serve(self, work: Any) -> None:
        self.crash.begin_turn()
        try:
            await work()
        except SimulatedCrash:
            self.restart_server()

    def restart_server(self) -> None:
        """Kill the replica's process and start another one."""
        self._start_server()
        next(service for service in self.services if service.name == "inference").ports = self.server.agent

    async def _drive(self) -> None:
        await self.driver.reconcile()
        await self.watchdog.reconcile()

    async def worker(self, tenant: TenantId) -> Worker:
        """A worker process that has not taken anything yet."""
        tenancy = self._of("worker")
        store = await tenancy.store(tenant)
        leases = Leases(store, tenancy.outbox, "worker", self.clock, LEASE_SECONDS)
        return Worker(tenancy, store, self.keys.manifest, self.trainer, gate_of_tests, leases, self.scratch)

    async def _work(self, tenant: TenantId, run_id: str) -> None:
        self.crash.begin_turn()
        try:
            await (await self.worker(tenant)).attempt(run_id)
        except (SimulatedCrash, LeaseHeld, LeaseLost, TenantFenced, KeyDestroyed):
            return

    async def settle(self) -> None:
        """Run until nothing happens any more, letting leases run out in between."""
        for _ in range(200):
            if not await self.step():
                self.now += timedelta(seconds=QUIESCE_SECONDS + 1)
                if not await self.step():
                    return
        raise AssertionError("the world does not come to rest")

    def rewind(self, name: str, topic: str, position: int = 0) -> None:
        """Deliver a topic to a service again from ``position``."""
        service = next(service for service in self.services if service.name == name)
        service.positions[topic] = position

    def rewind_all(self) -> None:
        for service, topic in itertools.chain.from_iterable(
            ((service, topic) for topic in service.topics) for service in self.services
        ):
            self.rewind(service.name, topic)

    async def state(self, tenant: TenantId) -> TenantState:
        return (await self.outside.states.read(tenant)).state

    async def served(self, tenant: TenantId) -> str:
        """One request by the tenant's active adapter, which is loaded for it; the adapter's digest."""
        active = (await self.state(tenant)).active_adapter
        assert active is not None
        async with self.placement.held(tenant, active):
            pass
        return active
