"""One approval at 10, 1,000 and 100,000 stored examples: what it costs must not depend on what came before.

Three pasts are measured. ``stored examples``: the bucket holds so many, and the tenant's state is that of a new
tenant. ``and their batches``: every batch of 64 was also trained and activated, and the state is as the runner tidies
it. ``and trained by hand only``: automatic training is off, and batches are closed without a request.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consumers.curation.handlers import on_example_approved
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.state.archive import Archive
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.memory import MemoryObjectStore
from tenancy.tenant_id import TenantId
from tests.bench import histories, seeded_store
from tests.bench.frame import ENTRY_SECONDS, Entry, Measured, Options, Result, Side, say
from tests.bench.stand import KeyFiles, RequestCount, Store, seeded_object_store

SEED_SECONDS = 300.0
BATCH = TenantPolicy().min_new_examples
STORED, BATCHED, BY_HAND = "stored examples", "and their batches", "and trained by hand only"


@dataclass
class Past:
    """A tenant with ``size`` stored examples in a bucket of its own."""

    kind: str
    size: int
    tenancy: Tenancy
    count: RequestCount
    tenant: TenantId
    requests: list[dict[str, int]] = field(default_factory=list)
    state_bytes: int = 0
    processor_ms: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.size:,} {self.kind}"


def run(options: Options, home: Path) -> Result:
    sizes = (10, 1_000) if options.quick else (10, 1_000, 100_000)
    keys = KeyFiles.made(home)
    master = KeyFileMasterKey.read(keys.master)
    seed = home / "seed"
    buckets = asyncio.run(_seed(seed, master, sizes))
    say("  loading them into the object store")
    with seeded_object_store(home, seed, SEED_SECONDS) as store:
        return asyncio.run(_measure(options, store, master, buckets, sizes))


ENTRY = Entry("approval_cost", run, ("boto3", "moto", "pydantic", "cryptography"))

Buckets = Mapping[str, tuple[str, int]]
"""Bucket to the kind and the size of the past in it. Its tenant has the bucket's name."""


async def _seed(path: Path, master: KeyFileMasterKey, sizes: tuple[int, ...]) -> Buckets:
    """Make every past in memory, sealed as in production, and write it out; each kind has its own keys."""
    buckets: dict[str, tuple[str, int]] = {}
    for kind in (STORED, BATCHED, BY_HAND):
        for size in sizes:
            say(f"  sealing {size:,} {kind}")
            bucket = f"past-{len(buckets)}"
            memory = MemoryObjectStore()
            tenancy = assemble(memory, master, RecordingPublisher(), "/sanolith/bench")
            tenant = await histories.onboarded(tenancy, bucket, _policy(kind), **_state(tenancy, kind, size))
            # The other pasts differ in the state alone; how many objects there are is measured by the first.
            if kind == STORED:
                await histories.stored(tenancy, tenant, size)
            if kind == BATCHED:
                # As the training consumer's runner does after every run.
                await Archive(await tenancy.store(tenant)).tidy(tenancy.states)
            current = ((key, versions[-1].body or b"") for key, versions in memory.objects.items())
            seeded_store.write_seed(path, ((bucket, key, body) for key, body in current))
            buckets[bucket] = (kind, size)
    return buckets


def _policy(kind: str) -> TenantPolicy:
    return TenantPolicy(automatic_training=kind != BY_HAND)


def _state(tenancy: Tenancy, kind: str, size: int) -> dict[str, Any]:
    if kind == BATCHED:
        return histories.after_batches(tenancy, size // BATCH)
    return histories.approved_by_hand(size, BATCH) if kind == BY_HAND else {}


async def _measure(
    options: Options, store: Store, master: KeyFileMasterKey, buckets: Buckets, sizes: tuple[int, ...]
) -> Result:
    async with asyncio.timeout(ENTRY_SECONDS):
        pasts = [_past(store, master, bucket, kind, size) for bucket, (kind, size) in buckets.items()]
        per_round = 2 if options.quick else 8
        await _round(pasts, "warm", 2)
        for past in pasts:
            past.requests.clear()
            past.processor_ms.clear()
        gc.collect()
        gc.freeze()  # what the seeding left is not looked at again in the middle of a measurement

        rounds = []
        for number in range(options.rounds):
            rounds.append(await _round(pasts, f"r{number}", per_round))
            say(f"  round {number + 1} of {options.rounds}: {_line(rounds[-1])}")
        gc.unfreeze()
        for past in pasts:
            stored = await past.tenancy.objects.get(object_keys.state_key(past.tenant))
            past.state_bytes = len(stored.body)
    _require_equal_requests(pasts)
    measured = {past.name: Measured("ms", tuple(medians[past.name] for medians in rounds)) for past in pasts}
    small, large = f"{sizes[0]:,} {STORED}", f"{sizes[-1]:,} {STORED}"
    processor = {f"{past.name}: processor time of the handler": _processor(past, per_round) for past in pasts}
    return Result(
        entry=ENTRY.name,
        question="Does an approval cost the same however many came before it?",
        better="lower",
        ours=Side(
            large,
            "on_example_approved on the S3 API: the median of "
            f"{per_round} approvals in a round, content uploaded before the clock runs.",
            measured[large],
        ),
        peer=Side(small, "the same, at the smallest size.", measured[small]),
        more={**measured, **processor},
        facts={
            "ratio to the smallest size of the same past": {
                past.name: round(measured[past.name].median / measured[f"{sizes[0]:,} {past.kind}"].median, 2)
                for past in pasts
                if past.size != sizes[0]
            },
            "S3 requests of one approval, the same at every size and past": pasts[0].requests[0],
            "bytes of state.json, read once and written once per approval": {
                past.name: past.state_bytes for past in pasts
            },
        },
    )


def _past(store: Store, master: KeyFileMasterKey, bucket: str, kind: str, size: int) -> Past:
    objects, count = store.objects(bucket), RequestCount()
    count.watch(objects.client)
    tenancy = assemble(objects, master, RecordingPublisher(), "/sanolith/curation")
    return Past(kind, size, tenancy, count, TenantId(bucket))


async def _round(pasts: list[Past], name: str, count: int) -> dict[str, float]:
    """For each past the median of ``count`` approvals, in ms. They take turns one by one, so that whatever else the
    machine does meanwhile is shared by all."""
    took: dict[str, list[float]] = {past.name: [] for past in pasts}
    for number in range(count):
        first = number % len(pasts)
        for past in pasts[first:] + pasts[:first]:
            took[past.name].append(await _approve(past, f"{name}-{number}"))
    return {past: statistics.median(times) for past, times in took.items()}


async def _approve(past: Past, example_id: str) -> float:
    event = await histories.uploaded(past.tenancy, past.tenant, example_id)
    past.count.taken()
    started, used = time.perf_counter(), time.process_time()
    outcome = await on_example_approved(event, past.tenancy)
    took = (time.perf_counter() - started) * 1000
    past.processor_ms.append((time.process_time() - used) * 1000)
    if outcome is not Outcome.EFFECT:
        raise RuntimeError(f"an approval came to {outcome}")
    past.requests.append(past.count.taken())
    return took


def _processor(past: Past, per_round: int) -> Measured:
    """Per round the median. Unlike the latency it does not depend on what else the machine does."""
    times = past.processor_ms
    return Measured(
        "ms", tuple(statistics.median(times[at : at + per_round]) for at in range(0, len(times), per_round))
    )


def _line(medians: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {milliseconds:.1f} ms" for name, milliseconds in medians.items())


def _require_equal_requests(pasts: list[Past]) -> None:
    for past in pasts:
        same_kind = next(other for other in pasts if other.kind == past.kind)
        if past.requests != same_kind.requests:
            raise RuntimeError(f"an approval sends other requests at {past.name} than at {same_kind.name}")
