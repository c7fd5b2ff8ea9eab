"""Draws adapters of any size from random numbers, without a tensor library: thousands of small ones in seconds."""

from __future__ import annotations

import json
import math
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schemas.models.adapter_files import CONFIG_FILE, WEIGHTS_FILE, LinearShapes, naming_run

NAME = "bench-base"
SPREAD = 0.003  # as of random_adapters
ALL = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")


@dataclass(frozen=True)
class Drawn:
    """An adapter's two files."""

    config: bytes
    weights: bytes


@dataclass(frozen=True)
class Drawing:
    """What is drawn: ``rank`` for ``targets`` in the first ``layers`` layers, BF16. ``megabytes``: as many tensors are
    F32 instead, the first ones, as come to that size. ``spread``: of the random numbers.
    """

    base: LinearShapes = field(repr=False)
    rank: int
    targets: tuple[str, ...] = ALL
    layers: int = 1000
    megabytes: float = 0.0
    spread: float = SPREAD

    def drawn(self) -> Drawn:
        """Another adapter at each call."""
        tensors = list(self._tensors())
        sizes = [math.prod(shape) for _, shape in tensors]
        missing, kinds = self.megabytes * 1e6 - 2 * sum(sizes), list[str]()
        for size in sizes:
            kinds.append("F32" if missing > 0 else "BF16")
            missing -= 2 * size
        entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for (name, shape), size, kind in zip(tensors, sizes, kinds, strict=True):
            begin, end = end, end + size * (4 if kind == "F32" else 2)
            entries[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}
        head = json.dumps(entries, separators=(",", ":")).encode()
        head += b" " * (-len(head) % 8)
        body = b"".join(_numbers(size, kind, self.spread) for size, kind in zip(sizes, kinds, strict=True))
        return Drawn(self._config(), struct.pack("<Q", len(head)) + head + body)

    def write(self, folder: Path) -> None:
        """Another adapter into the folder, which is made."""
        drawn = self.drawn()
        folder.mkdir(parents=True)
        (folder / CONFIG_FILE).write_bytes(drawn.config)
        (folder / WEIGHTS_FILE).write_bytes(drawn.weights)

    def _tensors(self) -> list[tuple[str, tuple[int, int]]]:
        found = []
        for module, (rows, columns) in sorted(self.base.items()):
            parts = module.split(".")
            if parts[-1] in self.targets and int(next(part for part in parts if part.isdecimal())) < self.layers:
                found.append((f"base_model.model.{module}.lora_A.weight", (self.rank, columns)))
                found.append((f"base_model.model.{module}.lora_B.weight", (rows, self.rank)))
        return found

    def _config(self) -> bytes:
        config: Mapping[str, object] = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "bias": "none",
            "init_lora_weights": True,
            "r": self.rank,
            "lora_alpha": 2 * self.rank,
            "target_modules": sorted(self.targets),
            "base_model_name_or_path": NAME,
        }
        return json.dumps(naming_run(config, f"drawn-{secrets.token_hex(8)}")).encode()


def _numbers(count: int, kind: str, spread: float) -> bytes:
    """Normal; a BF16 is the upper half of a float32."""
    import numpy

    drawn = numpy.random.default_rng().standard_normal(count, numpy.float32) * numpy.float32(spread)
    if kind == "F32":
        return bytes(drawn.tobytes())
    return bytes((drawn.view(numpy.uint32) >> 16).astype(numpy.uint16).tobytes())
