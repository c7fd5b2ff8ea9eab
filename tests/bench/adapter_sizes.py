"""Swaps of adapters of 10, 20 and 50 MB: from S3 into the engine, beside GetObject in parallel ranges and add_lora.

Each swap of ours is followed by one of the peer's, so both see the same machine. What a swap costs this process in
processor time is measured beside: it holds on a machine that others use too.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from schemas.models.adapter_files import LinearShapes
from schemas.tenant.policy import TenantPolicy
from tenancy.tenant_id import TenantId
from tests.bench import histories, published
from tests.bench.drawn_adapters import Drawing
from tests.bench.frame import Measured
from tests.bench.serving import PlainVllm, Replica
from tests.fixtures.all_keys import AllKeys

SIZES = {10: 16, 20: 32, 50: 64}
"""Megabytes, and of which rank. All modules of the small base model have 39 MB at rank 64: the rest is that some
tensors are F32.
"""
LARGEST_RANK = 64
SWAPS = 8  # of each size and side in a round
GOALS_MS = {20: 100.0, 50: 200.0}  # for the 95th percentile
GOAL_RATIO = 1.15
OTHERS = 2  # adapters of a size that take turns


@dataclass
class Sizes:
    """Two tenants of each size, whose adapters are in S3, and the same in plain for the peer."""

    replica: Replica
    peer: PlainVllm
    turns: dict[int, Iterator[tuple[TenantId, str, str]]] = field(default_factory=dict)
    taken: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    async def made(
        cls, replica: Replica, peer: PlainVllm, signer: AllKeys, base: LinearShapes, base_digest: str, home: Path
    ) -> Sizes:
        sizes = cls(replica, peer)
        for megabytes, rank in SIZES.items():
            of_size = []
            for number in range(OTHERS):
                name = f"size-{megabytes}-{number}"
                folder, drawing = home / name, Drawing(base, rank, megabytes=megabytes)
                await asyncio.to_thread(drawing.write, folder)
                tenant = await histories.onboarded(replica.tenancy, name, TenantPolicy())
                digest = await published.publish(replica.tenancy, signer, tenant, base_digest, folder)
                await peer.upload(name, folder)
                of_size.append((tenant, digest, name))
            sizes.turns[megabytes] = itertools.cycle(of_size)
        return sizes

    async def swaps(self, megabytes: int) -> float:
        """Load and unload ours and the peer's, in turn; the ratio of the medians."""
        ours, peers = [], []
        for _ in range(SWAPS):
            tenant, digest, name = next(self.turns[megabytes])
            used = time.process_time()
            async with self.replica.placement.held(tenant, digest):
                ours.append(self.replica.load_ms[-1])
            await self.replica.files.at_rest()  # or the peer would have a processor less
            self._note(_processor(megabytes, "ours"), (time.process_time() - used) * 1000)
            await self.replica.placement._unload(digest)
            used = time.process_time()
            await self.peer.load(name)
            peers.append(self.peer.load_ms)
            self._note(_processor(megabytes, "peer"), (time.process_time() - used) * 1000)
            await self.peer.unload(name)
        for side, values in (("ours", ours), ("peer", peers)):
            for value in values:
                self._note(_swap(megabytes, side), value)
        return statistics.median(ours) / statistics.median(peers)

    def _note(self, name: str, value: float) -> None:
        self.taken.setdefault(name, []).append(value)

    def measured(self) -> dict[str, Measured]:
        return {name: Measured("ms", tuple(values)) for name, values in sorted(self.taken.items())}

    def facts(self) -> dict[str, object]:
        facts: dict[str, object] = {}
        for megabytes in SIZES:
            ours, peer = (self.taken[_swap(megabytes, side)] for side in ("ours", "peer"))
            ratio, p95 = statistics.median(ours) / statistics.median(peer), percentile_95(ours)
            facts[f"{megabytes} MB: ours to the peer, of {len(ours)} swaps"] = round(ratio, 2)
            facts[f"{megabytes} MB: 95th percentile"] = f"{p95:.0f} ms (the peer's {percentile_95(peer):.0f} ms)"
            facts[f"{megabytes} MB: within {GOAL_RATIO}"] = ratio <= GOAL_RATIO
            if megabytes in GOALS_MS:
                goal = GOALS_MS[megabytes]
                facts[f"{megabytes} MB: 95th percentile under {goal:.0f} ms"] = p95 < goal
        return facts


def percentile_95(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def _swap(megabytes: int, side: str) -> str:
    return f"{megabytes} MB, S3 → engine ({side})"


def _processor(megabytes: int, side: str) -> str:
    return f"{megabytes} MB, processor time of this process ({side})"
