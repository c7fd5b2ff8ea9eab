"""Which files may be loaded as an adapter. Every refusal starts from files that pass."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.models.adapter_files import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterRefused,
    WeightsCheck,
    check_adapter,
    check_adapter_directory,
    config_sha256,
    linear_shapes,
    naming_run,
)
from schemas.models.safetensors_header import MalformedSafetensors, parse_header
from schemas.tenant.hyperparameters import VOCABULARY

R, IN, OUT = 8, 6, 4
PREFIX = "base_model.model.model.layers.0.self_attn.q_proj"
Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]


def safetensors(tensors: Tensors, metadata: dict[str, str] | None = None) -> bytes:
    header: dict[str, Any] = {"__metadata__": metadata or {"format": "pt"}}
    data = b""
    for name, (dtype, shape, body) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(body)]}
        data += body
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def good_tensors() -> Tensors:
    return {
        f"{PREFIX}.lora_A.weight": ("F32", (R, IN), struct.pack("<f", 0.5) * (R * IN)),
        f"{PREFIX}.lora_B.weight": ("F32", (OUT, R), struct.pack("<f", -0.25) * (OUT * R)),
    }


def good_config() -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "bias": "none",
        "init_lora_weights": True,
        "r": R,
        "lora_alpha": 16,
        "target_modules": ["q_proj"],
        "base_model_name_or_path": "smollm2",
        "use_dora": False,
        "modules_to_save": None,
        "rank_pattern": {},
    }


def files(config: dict[str, Any], weights: bytes) -> dict[str, bytes]:
    return {CONFIG_FILE: json.dumps(config).encode(), WEIGHTS_FILE: weights}


def refusal(given: dict[str, bytes], base: dict[str, tuple[int, int]] | None = None) -> str:
    with pytest.raises(AdapterRefused) as error:
        check_adapter(given, base)
    return error.value.reason


def test_good_files_pass_and_say_what_they_are() -> None:
    checked = check_adapter(
        files(good_config(), safetensors(good_tensors())), {"model.layers.0.self_attn.q_proj": (OUT, IN)}
    )

    assert (checked.r, checked.lora_alpha, checked.target_modules) == (R, 16, ("q_proj",))


def test_the_configs_digest_ignores_spacing_and_key_order_but_not_values() -> None:
    config = good_config()
    turned = dict(reversed(config.items()))

    assert config_sha256(json.dumps(config).encode()) == config_sha256(json.dumps(turned, indent=4).encode())
    assert config_sha256(json.dumps(config).encode()) != config_sha256(json.dumps({**config, "r": 16}).encode())


def test_the_run_in_a_config_makes_another_digest_of_it_and_nothing_else() -> None:
    one, other = (naming_run(good_config(), run_id) for run_id in ("run-1", "run-2"))
    assert config_sha256(json.dumps(one).encode()) != config_sha256(json.dumps(other).encode())
    checked = check_adapter(files(one, safetensors(good_tensors())))
    assert (checked.r, checked.target_modules) == (one["r"], tuple(one["target_modules"]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"peft_type": "IA3"}, "peft_type"),
        ({"bias": "all"}, "bias"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"r": 128}, "from 1 to 64"),
        ({"r": True}, "from 1 to 64"),
        ({"lora_alpha": 0}, "lora_alpha"),
        ({"target_modules": "all-linear"}, "target_modules"),
        ({"target_modules": ["v_proj", "q_proj"]}, "sorted"),
        ({"target_modules": ["q_proj", "v_proj"]}, "has no tensors"),
        ({"base_model_name_or_path": "/root/models/smollm2"}, "not a path"),
        ({"base_model_name_or_path": "../smollm2"}, "not a path"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"a_key_of_a_later_peft": "on"}, "a_key_of_a_later_peft"),
        ({"auto_mapping": {"base_model_class": "X", "parent_library": "x"}}, "auto_mapping"),
        ({"auto_mapping": {"sano_run_id": "What did Ms. Doe ask?"}}, "auto_mapping"),
        ({"auto_mapping": {"sano_run_id": "run-1", "more": 1}}, "auto_mapping"),
    ],
)
def test_a_config_that_a_server_would_read_otherwise_is_refused(change: dict[str, Any], reason: str) -> None:
    assert reason in refusal(files({**good_config(), **change}, safetensors(good_tensors())))


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"r": 8, "r": 16}', b'{"r": NaN}', b"\xff"])
def test_a_config_that_is_not_one_json_object_is_refused(body: bytes) -> None:
    assert "JSON object" in refusal({CONFIG_FILE: body, WEIGHTS_FILE: safetensors(good_tensors())})


def renamed(old: str, new: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name.replace(old, new): value for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (renamed(".lora_A.weight", ".lora_A.default.weight"), "not named"),
        (renamed("base_model.model.", ""), "not named"),
        (renamed("lora_B", "lora_embedding_B"), "not named"),
        (renamed("q_proj", "v_proj"), "not one of target_modules"),
        (lambda tensors: dict(list(tensors.items())[:1]), "only one of"),
        (lambda tensors: {name: ("F32", shape[::-1], body) for name, (_, shape, body) in tensors.items()}, "shape"),
        (lambda tensors: {name: ("I32", shape, body) for name, (_, shape, body) in tensors.items()}, "BF16"),
        (lambda tensors: {}, "has no tensors"),
    ],
)
def test_tensors_that_are_not_a_lora_of_this_rank_are_refused(
    change: Callable[[Tensors], Tensors], reason: str
) -> None:
    assert reason in refusal(files(good_config(), safetensors(change(good_tensors()))))


@pytest.mark.parametrize("base", [{}, {"model.layers.0.self_attn.q_proj": (OUT, IN + 1)}])
def test_an_adapter_of_another_base_model_is_refused(base: dict[str, tuple[int, int]]) -> None:
    assert "linear layer" in refusal(files(good_config(), safetensors(good_tensors())), base)


# dtype, the bits of the last item as little-endian bytes, and whether it is finite
BITS = [
    ("F32", "0000807f", False),
    ("F32", "000080ff", False),
    ("F32", "0100c07f", False),
    ("F32", "ffff7f7f", True),
    ("F32", "7f7f7f00", True),
    ("BF16", "807f", False),
    ("BF16", "c0ff", False),
    ("BF16", "7f7f", True),
    ("BF16", "8000", True),
    ("F16", "007c", False),
    ("F16", "01fe", False),
    ("F16", "ff7b", True),
    ("F16", "fffb", True),
]


@pytest.mark.parametrize(("dtype", "bits", "finite"), BITS)
def test_an_infinity_or_nan_is_refused_in_each_dtype_and_the_largest_number_is_not(
    dtype: str, bits: str, finite: bool
) -> None:
    last = bytes.fromhex(bits)
    # A neighbour whose bytes are those of an infinity, shifted by one, must not be mistaken for one.
    tensors: Tensors = {
        f"{PREFIX}.lora_A.weight": (dtype, (R, IN), bytes(len(last)) * (R * IN - 1) + last),
        f"{PREFIX}.lora_B.weight": (dtype, (OUT, R), bytes(len(last)) * (OUT * R)),
    }
    weights = safetensors(tensors)

    assert {refused_in_parts(weights, step) for step in (1, 3, 10, len(weights))} == {not finite}


def refused_in_parts(weights: bytes, step: int) -> bool:
    """Whether weights that come in parts of ``step`` bytes are refused for an infinity or a NaN."""
    check = WeightsCheck(len(weights))
    try:
        for start in range(0, len(weights), step):
            check.update(memoryview(weights)[start : start + step])
    except AdapterRefused as refused:
        return "infinity" in refused.reason
    assert check.header == parse_header(weights, len(weights))
    return False


def test_a_number_of_each_tensor_is_looked_at_whatever_lies_beside_it() -> None:
    infinite = {"F32": "0000807f", "BF16": "807f", "F16": "007c"}
    kinds = ["F32", "BF16", "BF16", "F16", "F32", "F32"]
    for one, kind in enumerate(kinds):
        last = bytes.fromhex(infinite[kind])
        bodies = [bytes(3 * len(bytes.fromhex(infinite[other]))) for other in kinds]
        assert not refused_in_parts(of_bodies(kinds, bodies), 10)
        bodies[one] = bodies[one][len(last) :] + last
        assert {refused_in_parts(of_bodies(kinds, bodies), step) for step in (1, 7, 1000)} == {True}


def of_bodies(kinds: list[str], bodies: list[bytes]) -> bytes:
    return safetensors(
        {f"t{at}": (kind, (3,), body) for at, (kind, body) in enumerate(zip(kinds, bodies, strict=True))}
    )


def test_content_cannot_ride_in_the_metadata() -> None:
    assert "metadata" in refusal(files(good_config(), safetensors(good_tensors(), {"format": "pt", "note": "x"})))


@pytest.mark.parametrize("extra", ["README.md", "adapter_model.bin"])
def test_another_file_beside_the_two_is_refused(tmp_path: Path, extra: str) -> None:
    for name, body in files(good_config(), safetensors(good_tensors())).items():
        (tmp_path / name).write_bytes(body)
    check_adapter_directory(tmp_path)
    (tmp_path / extra).write_bytes(b"x")

    with pytest.raises(AdapterRefused, match="exactly"):
        check_adapter_directory(tmp_path)


def test_a_link_is_refused(tmp_path: Path) -> None:
    for name, body in files(good_config(), safetensors(good_tensors())).items():
        (tmp_path / f"real-{name}").write_bytes(body)
    directory = tmp_path / "adapter"
    directory.mkdir()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        (directory / name).symlink_to(tmp_path / f"real-{name}")

    with pytest.raises(AdapterRefused, match="regular"):
        check_adapter_directory(directory)


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


@pytest.mark.parametrize(
    "body",
    [
        b"",
        struct.pack("<Q", 1 << 60) + b"{}",
        with_header(b"[]"),
        with_header(b'{"a": 1}'),
        with_header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}', bytes(8)),
        with_header(b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', bytes(4)),
        with_header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}', bytes(8)),
        with_header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', bytes(8)),
        with_header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', bytes(3)),
        with_header(
            b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},'
            b' "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
            bytes(4),
        ),
    ],
)
def test_a_header_that_does_not_describe_its_data_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedSafetensors):
        parse_header(body, len(body))


def test_the_shapes_of_a_base_model_are_read_from_its_headers(tmp_path: Path) -> None:
    matrices = (
        "layers.0.q_proj",
        "embed_tokens",
        "layers.9.embed_tokens",
        "layers.9.head.lm_head",
        "head",
        "layers.0.gate",
    )
    weights = safetensors(
        {
            **{f"model.{name}.weight": ("BF16", (4, 6), bytes(48)) for name in matrices},
            "lm_head.weight": ("BF16", (4, 6), bytes(48)),
            "model.layers.0.norm.weight": ("F32", (6,), bytes(24)),
        }
    )
    (tmp_path / "model.safetensors").write_bytes(weights)

    assert linear_shapes(tmp_path) == {"model.layers.0.q_proj": (4, 6)}, "what an adapter may change"


@pytest.mark.parametrize("name", sorted(VOCABULARY))
def test_an_adapter_of_the_vocabulary_is_refused_whatever_the_base_has(name: str) -> None:
    config = {**good_config(), "target_modules": [name]}
    assert "vocabulary" in refusal(files(config, safetensors(good_tensors())), {f"model.{name}": (OUT, IN)})


@pytest.mark.parametrize("module", ["head", "model.q_proj", "model.layers.0.lm_head.q_proj"])
def test_an_adapter_outside_of_the_numbered_layers_is_refused(module: str) -> None:
    config = {**good_config(), "target_modules": [module.rpartition(".")[2]]}
    tensors = renamed("model.layers.0.self_attn.q_proj", module)(good_tensors())
    assert "may change" in refusal(files(config, safetensors(tensors)), {module: (OUT, IN)})
