"""Gives entries with an engine their base model: the small one of this stack or, for a GPU, one of the shape of Llama 3
8B with random weights. What that one says is noise; how long it takes is not.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.local.base_model import base_model_folder
from deploy.local.settings import LocalSettings
from tests.bench.frame import Options, say
from tests.bench.stand import child_environment

BLOCK_BYTES = 2**26
_ITEM = 2  # bytes of a bfloat16


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama. The vocabulary is that of the small model, whose tokenizer it takes."""

    hidden: int = 4096
    feed_forward: int = 14336
    layers: int = 32
    heads: int = 32
    kv_heads: int = 8
    rope_theta: float = 500_000.0

    def tensors(self, vocabulary: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        hidden, narrow = self.hidden, self.hidden // self.heads * self.kv_heads
        yield "model.embed_tokens.weight", (vocabulary, hidden)
        for number in range(self.layers):
            layer = f"model.layers.{number}"
            for name, out in (("q", hidden), ("k", narrow), ("v", narrow), ("o", hidden)):
                yield f"{layer}.self_attn.{name}_proj.weight", (out, hidden)
            yield f"{layer}.mlp.gate_proj.weight", (self.feed_forward, hidden)
            yield f"{layer}.mlp.up_proj.weight", (self.feed_forward, hidden)
            yield f"{layer}.mlp.down_proj.weight", (hidden, self.feed_forward)
            yield f"{layer}.input_layernorm.weight", (hidden,)
            yield f"{layer}.post_attention_layernorm.weight", (hidden,)
        yield "model.norm.weight", (hidden,)
        yield "lm_head.weight", (vocabulary, hidden)


LLAMA_3_8B = Shape()


def base_model(options: Options) -> Path:
    """The folder. A model of random weights is kept beside the small one: it takes 14 GB and about a minute."""
    settings = LocalSettings()
    small = Path(base_model_folder(settings, child_environment()))
    if not options.gpu or settings.base_model is not None:
        return small
    folder = settings.cache_dir.absolute() / "models" / "llama-3-8b-shape"
    if not folder.is_dir():
        say(f"  writing random weights to {folder}")
        write(LLAMA_3_8B, small, folder)
    return folder


def kv_cache_gib(options: Options) -> float | None:
    """On a GPU vLLM takes what its weights and slots leave."""
    return None if options.gpu else 0.5


def write(shape: Shape, small: Path, folder: Path) -> None:
    """A model of this shape with the small one's tokenizer and special tokens. The folder appears when it is whole."""
    partial = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in small.iterdir():
        if path.suffix in (".json", ".jinja") and path.name != "digest.json":
            shutil.copy(path, partial / path.name)
    config = json.loads((small / "config.json").read_text())
    config |= {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.hidden // shape.heads,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_theta": shape.rope_theta, "rope_type": "default"},
    }
    (partial / "config.json").write_text(json.dumps(config, indent=2))
    _write_weights(list(shape.tensors(config["vocab_size"])), partial / "model.safetensors")
    partial.rename(folder)


def _write_weights(tensors: list[tuple[str, tuple[int, ...]]], path: Path) -> None:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    sizes, end = [], 0
    for name, sides in tensors:
        size = _ITEM * math.prod(sides)
        entries[name] = {"dtype": "BF16", "shape": list(sides), "data_offsets": [end, end + size]}
        sizes.append((len(sides), size))
        end += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    block = _random_block()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for dimensions, size in sizes:
            if dimensions == 1:
                file.write(b"\x80\x3f" * (size // _ITEM))  # a norm's weights: one
                continue
            for start in range(0, size, len(block)):
                file.write(block[: size - start])
        file.flush()
        os.fsync(file.fileno())


def _random_block() -> bytes:
    """Normal with a spread of 0.02, as such models begin: the upper halves of float32, which bfloat16 is."""
    import numpy  # only a GPU's run needs it

    drawn = numpy.random.default_rng(0).normal(0.0, 0.02, BLOCK_BYTES // _ITEM).astype(numpy.float32)
    upper: bytes = (drawn.view(numpy.uint32) >> 16).astype(numpy.uint16).tobytes()
    return upper
