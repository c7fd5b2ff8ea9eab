"""Approvals through the real curation consumer, against the best loop of aiokafka and boto3 with the same effects."""

from __future__ import annotations

import asyncio
from pathlib import Path

from schemas.bus.events import CURATION
from schemas.bus.topics import TOPICS
from tests.bench import batched_loop
from tests.bench.contest import MANY, ONE, SINGLES, Contestant, beside, contest
from tests.bench.frame import ENTRY_SECONDS, Entry, Measured, Options, Result, Side, Step, interleaved
from tests.bench.stand import WEED

IMPORTER = "bench-importer"


def run(options: Options, home: Path) -> Result:
    return asyncio.run(_measure(options, home))


ENTRY = Entry("curation_events", run, ("aiokafka", "boto3", "faststream", "moto", "pydantic", "cryptography"))


async def _measure(options: Options, home: Path) -> Result:
    bystander = next(beside(IMPORTER, TOPICS[CURATION].partitions))
    events, imported = (40, 100) if options.quick else (1600, 3000)
    tenants = (*ONE, *MANY, IMPORTER, bystander)
    async with (
        asyncio.timeout(ENTRY_SECONDS),
        contest(options, home, "curation", batched_loop, tenants) as held,
    ):
        many = await held.rates(options, MANY, events)
        requests = {side.name: tuple(side.requests) for side in (held.ours, held.peer)}
        one = await held.rates(options, ONE, events)

        def import_beside(side: Contestant) -> Step:
            return lambda number: held.stand.beside_an_import(side, IMPORTER, bystander, f"i{number}", imported)

        waits = await interleaved(1, {"ours": import_beside(held.ours), "peer": import_beside(held.peer)})
    return Result(
        entry=ENTRY.name,
        question="How many approvals of 20 tenants a second does one curation consumer handle with 25 ms to the object "
        "store, next to the best loop that does only the reads, writes and publications?",
        better="higher",
        ours=Side(
            "python -m consumers.curation.app",
            "tenants side by side, runs of up to 256 approvals of one: state, key and consents read once, example and "
            "content of each, one swap, a conditional create of each record, one acknowledged outcome each. Types, "
            "tenant and commitment are checked; deadline, retries, crash-loop guard, log lines, spans and metrics; "
            "commits every half second.",
            Measured("events/s", many["ours"]),
        ),
        peer=Side(
            "aiokafka + boto3, tests/bench/batched_loop.py",
            "batches of up to 512, tenants side by side: the same requests with the same preconditions, sealed objects "
            "and messages; no checks, no retries, no telemetry; commits each batch.",
            Measured("events/s", many["peer"]),
        ),
        more={
            "one tenant: our consumer": Measured("events/s", one["ours"]),
            "one tenant: the batched loop": Measured("events/s", one["peer"]),
            f"another tenant's single event while one imports {imported}: our consumer": Measured("s", waits["ours"]),
            f"another tenant's single event while one imports {imported}: the batched loop": Measured(
                "s", waits["peer"]
            ),
            f"the longest of {SINGLES} of them: our consumer": Measured("s", tuple(held.ours.longest_wait)),
            f"the longest of {SINGLES} of them: the batched loop": Measured("s", tuple(held.peer.longest_wait)),
            "S3 requests of our consumer, per event of 20 tenants": Measured("requests", requests["ours"]),
            "S3 requests of the batched loop, per event of 20 tenants": Measured("requests", requests["peer"]),
            **held.costs(),
        },
        facts={"events in a round": events, "tenants": len(MANY), "object store": WEED},
    )
