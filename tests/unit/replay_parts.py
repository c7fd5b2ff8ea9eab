"""An installation in memory for tests of replays: a log, states, and consumers that answer as they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from consumers.runtime.dead_letters import Reason, cut_letter, dead_letter
from producers.replay.fences import Fences
from producers.replay.journal import Journal
from producers.replay.log import Message
from producers.replay.plan import ReplayPlan
from producers.replay.planning import Planner
from producers.replay.running import Limits, Run, Target
from producers.replay.selection import Selection
from schemas.bus.envelope import DataT, Event, decode
from schemas.bus.events import OUTCOMES, ConsentGranted, OutcomeRecorded, UsageRecorded
from schemas.bus.outcome import Outcome
from schemas.bus.topics import MESSAGE_BYTES, dead_letter_topic
from schemas.evidence.audit import AuditEntry
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RawMessage
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.fixtures.records import raw_record
from tests.world.memory_log import MemoryLog

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
Answer = Callable[[Event], Outcome | None]


def duplicates(event: Event) -> Outcome | None:
    """What consumers on a live system say of what they have handled before."""
    return Outcome.NOOP_DUPLICATE


@dataclass
class AnsweredLog(MemoryLog):
    """Each message that carries a replay id is handled at once, by one consumer, and its outcome told."""

    answer: Answer = duplicates
    sent: list[RawMessage] = field(default_factory=list)
    dies_after: int | None = None

    async def publish_raw(self, message: RawMessage) -> None:
        is_replayed = "ce_replayid" in dict(message.headers) and message.topic != OUTCOMES
        if is_replayed and self.dies_after is not None and len(self.sent) >= self.dies_after:
            raise asyncio.CancelledError
        await super().publish_raw(message)
        if not is_replayed:
            return
        self.sent.append(message)
        event = decode(message.key, message.value, message.headers)
        outcome = self.answer(event)
        if outcome is None:
            return
        last = max((m for held in self.topics[message.topic] for m in held), key=lambda m: (m.time, m.place))
        told = OutcomeRecorded(
            event_id=event.id,
            event_type=event.type,
            consumer="curation",
            outcome=outcome,
            delivery=str(last.place),
            replay_id=event.replay_id,
        )
        await super().publish(Event(subject=event.subject, data=told, time=self.clock(), source="/test"))


@dataclass
class Installation:
    """Time passes by a second with each reading of the clock."""

    now: datetime = START
    objects: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    log: AnsweredLog = field(init=False)
    tenancy: Tenancy = field(init=False)

    def __post_init__(self) -> None:
        self.log = AnsweredLog(self.clock)
        self.tenancy = assemble(self.objects, KeyFileMasterKey(b"m" * 32), self.log, "/test", self.clock)

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    async def tenant(self, name: str, status: str = "active") -> TenantId:
        tenant = TenantId(name)
        await self.tenancy.states.create(TenantState(tenant=tenant, nonce="n", status=status))
        return tenant

    async def fence(self, name: str, status: str = "purged") -> None:
        await self.tenancy.states.swap(TenantId(name), lambda state: state.evolve(status=status))

    async def publish(self, tenant: str, data: DataT) -> Event[DataT]:
        event = Event(
            subject=tenant, data=data, time=self.clock(), source="/ehr", traceparent=f"00-{'1' * 32}-{'2' * 16}-01"
        )
        await self.log.publish(event)
        return event

    async def audited(self, tenant: str) -> list[AuditEntry]:
        """The entries of a tenant's audit log."""
        prefix = object_keys.audit_entries_prefix(tenant)
        bodies = [(await self.objects.get(key)).body async for key in self.objects.keys(prefix)]
        return [AuditEntry.model_validate_json(body) for body in bodies]

    async def garbage(self, topic: str, value: bytes = b"not json") -> None:
        await self.log.publish_raw(RawMessage(topic, b"t1", value, [("ce_type", b"sano.example.approved")]))

    async def bury(self, message: Message, *, code: str = "handler-error", consumer: str = "curation") -> None:
        """Dead-letter a message of the log, as the runtime does; one that is too large for a letter without it."""
        topic, partition, offset = message.place
        own_topic = topic.removesuffix(".dlq")
        record = raw_record(own_topic, message.key, message.value, message.headers, partition=partition, offset=offset)
        made = cut_letter if len(message.value or b"") > MESSAGE_BYTES else dead_letter
        await self.log.publish_raw(made(record, Reason(code, f"{code} in {consumer}", consumer, self.clock())))

    def held(self, topic: str) -> list[Message]:
        """Everything on a topic, oldest first."""
        return sorted((m for held in self.log.topics[topic] for m in held), key=lambda m: m.time)

    def letters(self, topic: str) -> list[Message]:
        return self.held(dead_letter_topic(topic))

    def fences(self) -> Fences:
        return Fences([self.tenancy.states], now=lambda: self.clock().timestamp() * 100)

    async def plan(self, **criteria: object) -> ReplayPlan:
        return await Planner(self.log, self.fences()).plan(
            Selection.model_validate(criteria), replay_id="replay-1", made_by="op", made_at=self.clock()
        )

    def run(self, plan: ReplayPlan, journal: Journal | None = None, **limits: object) -> Run:
        given = Limits(**{"rate": 1e9, "timeout_seconds": 0.2, **limits})  # type: ignore[arg-type]
        target = Target("here", self.log, self.tenancy)
        return Run(plan, self.log, target, self.fences(), journal or Journal(), given)


def granted(consent: str, version: int = 1) -> ConsentGranted:
    return ConsentGranted(consent_id=consent, version=version)


async def history(count: int = 6) -> Installation:
    """Two tenants' consents and usages, one after the other."""
    made = Installation()
    for tenant in ("t1", "t2"):
        await made.tenant(tenant)
    for number in range(count):
        tenant = f"t{number % 2 + 1}"
        await made.publish(tenant, granted(f"c-{number}"))
        await made.publish(tenant, UsageRecorded(usage_id=f"u-{number}", source="storage"))
    return made
