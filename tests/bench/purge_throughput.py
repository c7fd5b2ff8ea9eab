"""A tenant with 20,000 object versions is purged, next to a bare loop of boto3's listing and deletion.

Both sides empty buckets of equal content: two versions of each key, delete markers, and a few open uploads, which the
bare loop does not know of. What the purge holds in memory is measured at a tenth of the size too. One sweep alone is
timed beside it: the difference is what counting, the record, the audit log and the certificate take.
"""

from __future__ import annotations

import asyncio
import gc
import operator
import time
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consumers.purge.driver import PurgeReconciler
from consumers.purge.handlers import PurgePorts, on_purge_requested
from consumers.purge.policy import PurgePolicy
from consumers.purge.roots import SweepTarget
from consumers.purge.sweep import sweep
from schemas.bus.envelope import Event
from schemas.bus.events import PurgeRequested
from schemas.objects import object_keys
from schemas.objects.state import TenantState
from tenancy.bootstrap import assemble
from tenancy.bus import RecordingPublisher
from tenancy.platform.clock import utc_now
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.tenant_id import TenantId
from tests.bench import seeded_store
from tests.bench.frame import ENTRY_SECONDS, Entry, Measured, Options, Result, Side, interleaved, say
from tests.bench.stand import RequestCount, Store, seeded_object_store
from tests.fixtures.all_keys import AllKeys

if TYPE_CHECKING:
    from tenancy.storage.s3 import S3ObjectStore

SEED_SECONDS = 600.0
UPLOADS = 5
BODY = b"SANO1" + bytes(123)
TENANT = TenantId("bench")
PREFIX = object_keys.tenant_prefix(TENANT)
MIB = 2**20


@dataclass(frozen=True)
class Bench:
    """A seeded object store, and the sizes: versions and delete markers of one tenant."""

    store: Store
    size: int
    requests: dict[str, dict[str, int]] = field(default_factory=dict)

    async def ours(self, number: int) -> float:
        """A purge from its command to its certificate. It waits for nothing: no replica, no late writer, no export."""
        objects, count = self.objects(f"ours-{number}")
        driver, ports = await _purge_of(objects)
        count.taken()
        started = time.perf_counter()
        await _purge(driver, ports)
        took = time.perf_counter() - started
        self.requests["ours"] = count.taken()
        record = await driver.records.read(TENANT, "bench")
        # The wrapped key and the superseded states are counted too.
        if record.step != "certified" or record.versions_removed <= self.size + UPLOADS:
            raise RuntimeError(f"the purge is {record.step} and removed {record.versions_removed}")
        await _require_empty(objects)
        return took

    async def sweep(self, number: int) -> float:
        """One sweep alone, which counts nothing and notes nothing."""
        objects, count = self.objects(f"sweep-{number}")
        started = time.perf_counter()
        await sweep(objects, SweepTarget("objects", PREFIX))
        took = time.perf_counter() - started
        self.requests["one sweep"] = count.taken()
        await _require_empty(objects)
        return took

    async def bare(self, number: int) -> float:
        """The peer, in one thread and without a loop of events around it."""
        objects, count = self.objects(f"bare-{number}")
        started = time.perf_counter()
        deleted = await asyncio.to_thread(_bare_loop, objects.client, objects.bucket)
        took = time.perf_counter() - started
        self.requests["bare loop"] = count.taken()
        if deleted != self.size:
            raise RuntimeError(f"the bare loop deleted {deleted}")
        return took

    def objects(self, bucket: str) -> tuple[S3ObjectStore, RequestCount]:
        """A bucket with open uploads too, and a count of what is sent to it from here on."""
        objects, count = self.store.objects(bucket), RequestCount()
        for number in range(UPLOADS):
            objects.client.create_multipart_upload(Bucket=bucket, Key=f"{PREFIX}runs/open-{number}")
        count.watch(objects.client)
        return objects, count


async def _purge_of(objects: S3ObjectStore) -> tuple[PurgeReconciler, PurgePorts]:
    tenancy = assemble(objects, KeyFileMasterKey(bytes(32)), RecordingPublisher(), "/bench", utc_now)
    await tenancy.keys.create(TENANT)
    await tenancy.states.create(TenantState(tenant=TENANT, nonce="first"))
    signing = AllKeys.made()
    driver = PurgeReconciler(tenancy, signing, PurgePolicy(quiesce_seconds=0.0))
    return driver, PurgePorts(tenancy, signing.trust, driver, lambda: None)


async def _purge(driver: PurgeReconciler, ports: PurgePorts) -> None:
    requested = PurgeRequested(purge_id="bench", reason_code="churned", requested_by="bench")
    await on_purge_requested(Event(subject=TENANT, data=requested, time=utc_now(), source="/bench"), ports)
    await driver.advance(TENANT, "bench")


async def _require_empty(objects: S3ObjectStore) -> None:
    left = len([1 async for _ in objects.versions(PREFIX)]) + len([1 async for _ in objects.uploads(PREFIX)])
    if left:
        raise RuntimeError(f"{left} versions, markers and uploads were left behind")


def _bare_loop(client: Any, bucket: str) -> int:
    deleted = 0
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=PREFIX):
        found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        if found:
            doomed = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in found]
            client.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})
            deleted += len(doomed)
    return deleted


def _seed(buckets: dict[str, int]) -> seeded_store.Seed:
    """Nine of twenty versions are first ones, nine second ones, and two are markers."""
    for bucket, size in buckets.items():
        for number in range(size * 9 // 20):
            key = f"{PREFIX}examples/{number:08}"
            yield bucket, key, BODY
            yield bucket, key, BODY
            if number < size // 10:
                yield bucket, key, None


def run(options: Options, home: Path) -> Result:
    size = 2_000 if options.quick else 20_000
    rounds = {f"{side}-{number}": size for side in ("ours", "bare", "sweep") for number in range(options.rounds)}
    memory = {f"memory-{versions}": versions for versions in (size // 10, size)}
    seed = home / "seed"
    seeded_store.write_seed(seed, _seed(rounds | memory))
    say(f"  loading {len(rounds)} buckets of {size:,} versions into the object store")
    with seeded_object_store(home, seed, SEED_SECONDS) as store:
        return asyncio.run(_measure(options, Bench(store, size), memory))


ENTRY = Entry("purge_throughput", run, ("boto3", "moto"))


async def _measure(options: Options, bench: Bench, memory: dict[str, int]) -> Result:
    async with asyncio.timeout(ENTRY_SECONDS):
        timed = await interleaved(options.rounds, {"ours": bench.ours, "bare": bench.bare, "sweep": bench.sweep})
        held = {versions: await _held(bench, bucket) for bucket, versions in memory.items()}
    ours, bare = (Measured("s", timed[side]) for side in ("ours", "bare"))
    small, large = sorted(held)
    return Result(
        entry=ENTRY.name,
        question=f"How long does the purge of a tenant of {bench.size:,} object versions take?",
        better="lower",
        ours=Side(
            "consumers.purge, from the command to the certificate",
            "fences, decides, destroys the key, lists all versions, delete markers and open uploads, counts them "
            f"in the record, lists again and removes them, lists twice more, signs; {UPLOADS} open uploads among them.",
            ours,
        ),
        peer=Side(
            "boto3 list_object_versions + delete_objects",
            "the same listing and the same deletions, page by page in one thread, checking nothing; no uploads.",
            bare,
        ),
        more={
            "versions a second, ours": Measured("1/s", tuple(bench.size / took for took in timed["ours"])),
            "versions a second, bare loop": Measured("1/s", tuple(bench.size / took for took in timed["bare"])),
            "one sweep of it alone": Measured("s", timed["sweep"]),
            "one sweep alone : bare loop": Measured("", tuple(map(operator.truediv, timed["sweep"], timed["bare"]))),
        },
        facts={
            "S3 requests": bench.requests,
            "most memory held by Python objects, in MiB": {f"{n:,} versions": held[n][0] for n in (small, large)},
            "growth of resident memory, in MiB": {f"{n:,} versions": held[n][1] for n in (small, large)},
            "memory held at ten times the size": f"{held[large][0] / held[small][0]:.2f} times as much",
        },
    )


async def _held(bench: Bench, bucket: str) -> tuple[float, float]:
    """The peak of traced memory and of resident memory over where they stood before, in MiB, of one purge."""
    objects, _ = bench.objects(bucket)
    driver, ports = await _purge_of(objects)  # the connection's own memory is there from here on
    gc.collect()
    resident = _resident_from_now()
    tracemalloc.start()
    try:
        await _purge(driver, ports)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return round(peak / MIB, 2), round((_resident("VmHWM") - resident) / MIB, 2)


def _resident_from_now() -> int:
    """The resident memory in bytes; its peak begins anew here (proc(5), ``clear_refs``)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS")


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
