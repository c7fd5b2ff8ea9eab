"""From a file of approvals to examples that count, against the same with a batched upload and the batched loop."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from producers.sources.importing import import_approvals
from schemas.bus.envelope import Event, event_id
from schemas.bus.events import ExampleApproved
from schemas.objects import object_keys
from tenancy.bootstrap import assemble
from tenancy.kafka_publisher import KafkaPublisher
from tenancy.storage.s3 import connect
from tenancy.storage.sealing import seal
from tenancy.tenant_id import TenantId
from tests.bench import batched_loop, histories
from tests.bench.batched_loop import Loop
from tests.bench.contest import Contest, collected, contest, outcomes
from tests.bench.frame import ENTRY_SECONDS, Entry, Measured, Options, Result, Side, Step, interleaved
from tests.bench.stand import WEED
from tests.fixtures.gates import gate_of_tests

TENANT = TenantId("bench-import")


def run(options: Options, home: Path) -> Result:
    return asyncio.run(_measure(options, home))


ENTRY = Entry("import_to_eligible", run, ("aiokafka", "boto3", "faststream", "moto", "pydantic", "cryptography"))


async def _measure(options: Options, home: Path) -> Result:
    count = 40 if options.quick else 800
    async with (
        asyncio.timeout(ENTRY_SECONDS),
        contest(options, home, "curation", batched_loop, (TENANT,)) as held,
    ):
        steps: dict[str, Step] = {
            "ours": lambda number: _ours(held, home / f"approvals-{number}.jsonl", f"i{number}", count),
            "peer": lambda number: _peer(held, f"i{number}", count),
        }
        rates = await interleaved(options.rounds, steps)
    return Result(
        entry=ENTRY.name,
        question="How many examples a second go from a file of approvals to being eligible for training, with 25 ms to "
        "the object store, next to a batched upload and the batched loop?",
        better="higher",
        ours=Side(
            "import_approvals, as `sano import` calls it, and python -m consumers.curation.app",
            "validates each line, looks for an earlier decision and for content of each example, seals and uploads, "
            "publishes each approval acknowledged; then curation as in curation_events.",
            Measured("events/s", rates["ours"]),
        ),
        peer=Side(
            "boto3 + aiokafka, and tests/bench/batched_loop.py",
            "seals and uploads all contents side by side, publishes all approvals together; then the batched loop.",
            Measured("events/s", rates["peer"]),
        ),
        facts={"approvals in a file": count, "object store": WEED},
    )


async def _ours(held: Contest, path: Path, name: str, count: int) -> float:
    with path.open("w") as file:
        for number in range(count):
            messages = [message.model_dump() for message in histories.content(f"{name}-{number}").messages]
            line = {"messages": messages, "reviewer": histories.REVIEWER, "consent": histories.CONSENT}
            file.write(json.dumps(line) + "\n")
    side = held.ours
    store = replace(held.store, endpoint_url=side.proxy.endpoint_url)
    async with (
        aclosing(store.objects(side.bucket)) as objects,
        KafkaPublisher({"bootstrap_servers": held.bootstrap}, held.stand.signer) as publisher,
        outcomes(side.outcomes, held.bootstrap) as consumer,
    ):
        begun = time.time()
        tenancy = assemble(objects, held.master, publisher, "/sanolith/bench")
        imported = await import_approvals(path, TENANT, tenancy, gate_of_tests)
        if imported.count("new") != count:
            raise RuntimeError("the benchmark imports each example once")
        expected = {
            event_id(ExampleApproved.type, TENANT, f"{example.example_id}|{example.version}")
            for example in imported.examples
        }
        times = await collected(side.process, side.name, consumer, expected)
    return count / (max(times.values()) / 1000 - begun)


async def _peer(held: Contest, name: str, count: int) -> float:
    side, credentials = held.peer, held.store.credentials
    client = connect(
        side.proxy.endpoint_url,
        timeout_seconds=60.0,
        access_key_id=credentials.access_key_id,
        secret_access_key=credentials.secret_access_key,
    )
    loop = Loop(client, side.bucket, held.master)
    async with outcomes(side.outcomes, held.bootstrap) as consumer:
        begun = time.time()
        key_body, _ = await loop.get(object_keys.key_key(TENANT))
        data_key = loop.master.unwrap(TENANT, base64.b64decode(json.loads(key_body)["wrapped_data_key"]))

        async def uploaded(example_id: str) -> Event:
            content = histories.content(example_id)
            key = object_keys.tenant_key(TENANT, object_keys.content(example_id, 1))
            await loop.put(key, seal(data_key, key, content.model_dump_json().encode()), IfNoneMatch="*")
            return histories.approval(side.tenancy, TENANT, example_id, content)

        events = await asyncio.gather(*(uploaded(f"{name}-{number}") for number in range(count)))
        await held.stand.publish(side.events, events)
        times = await collected(side.process, side.name, consumer, {event.id for event in events})
    return count / (max(times.values()) / 1000 - begun)
