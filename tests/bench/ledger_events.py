"""Approvals into the tenants' audit logs by the real ledger, against a batched loop with the same objects."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.bench import batched_ledger
from tests.bench.contest import MANY, ONE, contest
from tests.bench.frame import ENTRY_SECONDS, Entry, Measured, Options, Result, Side
from tests.bench.stand import WEED


def run(options: Options, home: Path) -> Result:
    return asyncio.run(_measure(options, home))


ENTRY = Entry("ledger_events", run, ("aiokafka", "boto3", "faststream", "moto", "pydantic", "cryptography"))


async def _measure(options: Options, home: Path) -> Result:
    events = 40 if options.quick else 1600
    async with (
        asyncio.timeout(ENTRY_SECONDS),
        contest(options, home, "ledger", batched_ledger, (*ONE, *MANY)) as held,
    ):
        many = await held.rates(options, MANY, events)
        requests = {side.name: tuple(side.requests) for side in (held.ours, held.peer)}
        one = await held.rates(options, ONE, events)
    return Result(
        entry=ENTRY.name,
        question="How many approvals of 20 tenants a second does one ledger enter in their audit logs with 25 ms to "
        "the object store, next to the best loop that does only the reads, writes and publications?",
        better="higher",
        ours=Side(
            "python -m consumers.ledger.app",
            "tenants side by side, runs of up to 512 approvals of one: state, key and head read once, a claim each, "
            "one segment of the chain, one swap of the head, one acknowledged outcome each, which it reads again as "
            "every outcome; a signature after every 256 entries or more. Deadline, retries, crash-loop guard, log "
            "lines, spans and metrics; commits every half second.",
            Measured("events/s", many["ours"]),
        ),
        peer=Side(
            "aiokafka + boto3, tests/bench/batched_ledger.py",
            "batches of up to 512, tenants side by side: the same requests with the same preconditions, the same "
            "chain and messages; no checks, no retries, no signatures, no telemetry; commits each batch.",
            Measured("events/s", many["peer"]),
        ),
        more={
            "one tenant: our ledger": Measured("events/s", one["ours"]),
            "one tenant: the batched loop": Measured("events/s", one["peer"]),
            "S3 requests of our ledger, per event of 20 tenants": Measured("requests", requests["ours"]),
            "S3 requests of the batched loop, per event of 20 tenants": Measured("requests", requests["peer"]),
            **held.costs(),
        },
        facts={"events in a round": events, "tenants": len(MANY), "object store": WEED},
    )
