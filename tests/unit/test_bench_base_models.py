"""The base model of random weights that benchmarks on a GPU ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.models.adapter_files import linear_shapes
from schemas.models.model_digest import model_digest
from schemas.models.safetensors_header import read_header
from tests.bench import base_models
from tests.bench.base_models import LLAMA_3_8B, Shape


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"vocab_size": 96, "hidden_size": 8, "tie_word_embeddings": True}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "digest.json").write_text("of the small one")
    return folder


def test_a_model_of_random_weights_has_the_layers_that_its_configuration_says(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_models, "BLOCK_BYTES", 1000)  # no tensor is a whole number of these
    folder = tmp_path / "made"
    base_models.write(Shape(hidden=32, feed_forward=48, layers=2, heads=4, kv_heads=2), small, folder)

    config = json.loads((folder / "config.json").read_text())
    assert (config["num_hidden_layers"], config["head_dim"], config["tie_word_embeddings"]) == (2, 8, False)
    header = read_header(folder / "model.safetensors")
    assert header.tensors["lm_head.weight"].shape == (96, 32)
    shapes = linear_shapes(folder)
    assert shapes["model.layers.1.self_attn.k_proj"] == (16, 32)
    assert shapes["model.layers.0.mlp.down_proj"] == (32, 48)
    assert len(shapes) == 2 * 7
    assert len(model_digest(folder)) == 64, "of its own files"


def test_the_shape_is_that_of_llama_3_8b_but_for_the_vocabulary() -> None:
    sizes = dict(LLAMA_3_8B.tensors(128_256))
    parameters = sum(sides[0] * (sides[1] if len(sides) == 2 else 1) for sides in sizes.values())
    assert parameters == 8_030_261_248
