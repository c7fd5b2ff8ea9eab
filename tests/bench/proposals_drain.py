"""Proposals of many tenants through the real curation consumer while one tenant floods it: rate, memory, others' waits.

Half of the proposals are one tenant's. While they drain, tenants that have nothing else there propose one example each,
one after another, on the flood's own partition. The peer is the same consumer before the flood, with nothing to do but
those. Then the other half drains, of all other tenants, and the same is measured beside it: each single proposal then
waits for its turn among theirs. Proposals are JWEs to the tenants' keys, as sources publish them, and the consumer runs
its redaction gate on each. The store answers at once: how its delay is hidden is what ``curation_events`` measures.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from joserfc.jwk import OKPKey

from deploy.local.processes import ChildProcess
from producers.operations.topics import apply_topics
from schemas.base.redaction import RedactionReport
from schemas.bus.content import ChatMessage, CommittedInline, ExampleContent, InlineContent
from schemas.bus.envelope import Event
from schemas.bus.events import CURATION, OUTCOMES, ExampleProposed
from schemas.bus.redaction import Redaction
from schemas.bus.topics import TOPICS
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.evidence.event_signatures import EventSigner
from tenancy.platform.concurrency import gathered
from tenancy.redaction.standard import NAME, VERSION
from tenancy.storage.keys import encrypt_inline
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.tenant_id import TenantId
from tests.bench import histories
from tests.bench.contest import beside, bus_producer, collected, operators_signer, outcomes, signed, start_service
from tests.bench.frame import ENTRY_SECONDS, Entry, Measured, Options, Result, Side, say
from tests.bench.stand import KeyFiles, kafka, processor_seconds, resident_megabytes, weed

TENANTS, QUICK_TENANTS, QUICK_PROPOSALS = 200, 8, 60
FLOODING = "bench-flood"
SINGLES, BETWEEN_SINGLES_SECONDS, LOOK_SECONDS = 9, 1.0, 0.25
CLEAN = Redaction.of(RedactionReport(gate=NAME, version=VERSION, verdict="clean"))


def run(options: Options, home: Path) -> Result:
    return asyncio.run(_measure(options, home))


ENTRY = Entry("proposals_drain", run, ("aiokafka", "boto3", "faststream", "moto", "pydantic", "cryptography"))


@dataclass
class Drain:
    """The consumer, and what publishes to it and looks at it."""

    process: ChildProcess
    tenancy: Tenancy
    producer: AIOKafkaProducer
    signer: EventSigner
    bootstrap: str
    keys: dict[str, OKPKey]
    megabytes: list[float] = field(default_factory=list)

    async def publish(self, proposals: Sequence[tuple[str, str]]) -> dict[str, int]:
        """By event id, when the broker took each, in ms. One at a time is encoded, so that none but ids stay here."""
        taken: dict[str, int] = {}

        async def sent(event: Event) -> None:
            message = await signed(event, self.signer)
            future = await self.producer.send(CURATION, key=message.key, value=message.value, headers=message.headers)
            taken[event.id] = (await future).timestamp

        for at in range(0, len(proposals), 500):
            await asyncio.gather(*(sent(self.proposal(*each)) for each in proposals[at : at + 500]))
        return taken

    def proposal(self, tenant: str, example_id: str) -> Event:
        made = ExampleContent(
            messages=(
                ChatMessage(role="user", content="May [PATIENT-1] take ibuprofen with apixaban 5 mg twice daily?"),
                ChatMessage(role="assistant", content="Rather not: bleeding is more likely. Offer paracetamol first."),
            ),
            salt=secrets.token_hex(32),
        )
        reference = InlineContent(jwe=encrypt_inline(self.keys[tenant], made))
        data = ExampleProposed(
            example_id=example_id,
            version=1,
            source="publisher",
            redaction=CLEAN,
            content=CommittedInline(reference=reference, commitment=made.commitment()),
        )
        return Event(subject=TenantId(tenant), data=data, time=self.tenancy.clock(), source="/sanolith/bench")

    async def singles(self, tenants: Sequence[str], name: str) -> list[float]:
        """The waits, in seconds, of one proposal of each of these, one after another, whatever else goes on."""
        async with outcomes(OUTCOMES, self.bootstrap) as consumer:
            sent: dict[str, int] = {}
            for number, tenant in enumerate(tenants):
                sent |= await self.publish([(tenant, f"{name}-{number}")])
                await asyncio.sleep(BETWEEN_SINGLES_SECONDS)
            times = await collected(self.process, "curation", consumer, set(sent))
        return [(times[single] - taken) / 1000 for single, taken in sent.items()]

    async def drained(
        self, proposals: Sequence[tuple[str, str]], bystanders: Sequence[str], name: str
    ) -> tuple[float, list[float]]:
        """Proposals a second, from the first on the topic to the last outcome; and the bystanders' waits."""
        async with outcomes(OUTCOMES, self.bootstrap) as consumer:
            sent = await self.publish(proposals)
            looking = asyncio.create_task(self._look())
            waiting = asyncio.create_task(self.singles(bystanders, name))
            try:
                times = await collected(self.process, "curation", consumer, set(sent))
                return len(sent) * 1000 / (max(times.values()) - min(sent.values())), await waiting
            finally:
                for task in (looking, waiting):
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

    async def _look(self) -> None:
        while True:
            self.megabytes.append(resident_megabytes(self.process))
            await asyncio.sleep(LOOK_SECONDS)


async def _measure(options: Options, home: Path) -> Result:
    count = QUICK_PROPOSALS if options.quick else options.proposals
    others = [f"bench-{number}" for number in range((QUICK_TENANTS if options.quick else TENANTS) - 1)]
    bystanders = list(islice(beside(FLOODING, TOPICS[CURATION].partitions), SINGLES))
    flood = [(FLOODING, f"flood-{number}") for number in range(count // 2)]
    spread = [(others[number % len(others)], f"spread-{number}") for number in range(count - count // 2)]
    async with asyncio.timeout(ENTRY_SECONDS * 4), _drain(options, home, (FLOODING, *others, *bystanders)) as drain:
        await drain.singles(bystanders[:2], "warm")
        alone = await drain.singles(bystanders, "alone")
        warm, used = resident_megabytes(drain.process), processor_seconds(drain.process)
        flooded, waits = await drain.drained(flood, bystanders, "beside-flood")
        shared, among_all = await drain.drained(spread, bystanders, "beside-all")
        used = processor_seconds(drain.process) - used
    half = len(drain.megabytes) // 2
    say(f"  {count} proposals of {len(others) + 1} tenants: {flooded:.1f} and {shared:.1f} events/s")
    return Result(
        entry=ENTRY.name,
        question="How long does a tenant's single proposal wait while another tenant's flood drains, next to the same "
        "consumer with nothing else to do?",
        better="lower",
        ours=Side(
            "python -m consumers.curation.app beside a flood",
            "one tenant's flood, and single proposals of tenants that have nothing else there, on its partition",
            Measured("s", (statistics.median(waits),)),
        ),
        peer=Side(
            "the same consumer without the flood",
            "the same tenants' single proposals and no others",
            Measured("s", (statistics.median(alone),)),
        ),
        more={
            "longest wait of a single proposal beside the flood": Measured("s", (max(waits),)),
            "longest wait of one without it": Measured("s", (max(alone),)),
            "single proposals beside those of all other tenants": Measured("s", (statistics.median(among_all),)),
            "proposals of the flooding tenant drained": Measured("events/s", (flooded,)),
            "proposals of all other tenants drained": Measured("events/s", (shared,)),
            "processor time of the consumer, per proposal": Measured("ms", (used * 1000 / count,)),
            "memory of the consumer before": Measured("MB", (warm,)),
            "most memory in the first half of the drain": Measured("MB", (max(drain.megabytes[: half + 1]),)),
            "most memory in the second half of the drain": Measured("MB", (max(drain.megabytes[half:]),)),
        },
        facts={"proposals": count, "of the flooding tenant": len(flood), "tenants": len(others) + 1},
    )


@asynccontextmanager
async def _drain(options: Options, home: Path, tenants: Sequence[str]) -> AsyncIterator[Drain]:
    async with AsyncExitStack() as stack:
        bootstrap = stack.enter_context(kafka(home)).bootstrap_servers
        store = stack.enter_context(weed(home))
        keys = KeyFiles.made(home)
        await apply_topics({"bootstrap_servers": bootstrap})
        bucket = store.bucket("drain")
        master = KeyFileMasterKey.read(keys.master)
        objects = await stack.enter_async_context(aclosing(store.objects(bucket)))
        tenancy = assemble(objects, master, RecordingPublisher(), "/sanolith/bench")
        await gathered(histories.onboarded(tenancy, tenant, TenantPolicy()) for tenant in tenants)
        public: dict[str, Any] = {each: await tenancy.keys.public_key(TenantId(each)) for each in tenants}
        process = start_service("curation", home, bootstrap, store.endpoint_url, store, bucket, keys)
        stack.callback(process.stop)
        async with bus_producer(bootstrap) as producer:
            jwks = {tenant: OKPKey.import_key(dict(key)) for tenant, key in public.items()}
            yield Drain(process, tenancy, producer, operators_signer(keys), bootstrap, jwks)
