"""Checks an adapter's two files before anything loads them, and computes their digests.

Nothing here needs torch, so the trainer, the publisher, the server and `sano export` share one copy.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from schemas.base.canonical import sha256_hex
from schemas.base.identifiers import OPAQUE_ID_PATTERN
from schemas.models.safetensors_header import (
    ITEM_BYTES,
    MalformedSafetensors,
    SafetensorsHeader,
    data_start,
    parse_header,
    read_header,
    unique_keys,
)
from schemas.objects import object_keys
from schemas.tenant.hyperparameters import VOCABULARY

WEIGHTS_FILE = object_keys.ADAPTER_WEIGHTS
CONFIG_FILE = object_keys.ADAPTER_CONFIG
# Bytes of a number, and the bits of infinity: IEEE 754, and bfloat16 as float32's upper half.
_INFINITIES = {"F32": (4, 0x7F800000), "BF16": (2, 0x7F80), "F16": (2, 0x7C00)}
ADAPTER_FILES = frozenset({WEIGHTS_FILE, CONFIG_FILE})

LinearShapes = Mapping[str, tuple[int, int]]
"""Module name in the base model, such as ``model.layers.0.mlp.up_proj``, to (out features, in features)."""

_NEVER_ADAPTED = VOCABULARY | {"gate", "router", "shared_expert_gate"}
"""And the routers, which say what expert gets a token: vLLM loads adapters of them and then ignores them."""

_TENSOR = re.compile(r"base_model\.model\.(?P<module>[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)\.lora_(?P<side>[AB])\.weight")
# A stable name such as "smollm2" or "HuggingFaceTB/SmolLM2-135M-Instruct", never a path of the training machine.
_BASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_RUN_ID = re.compile(OPAQUE_ID_PATTERN)
_MODULE_NAME = re.compile(r"[A-Za-z0-9_]+")

# Every other key of a PEFT configuration must be null, false or empty: DoRA, rsLoRA, saved modules, per-module ranks
# and whatever a later PEFT adds change what the tensors mean, and vLLM ignores or refuses them. These change nothing;
# qalora_group_size is read only where use_qalora is true.
_DESCRIPTIVE = frozenset(
    {"peft_version", "inference_mode", "lora_dropout", "revision", "megatron_core", "qalora_group_size"}
)
# PEFT reads this field only where there is no task_type, and keeps it when it saves; a key of our own would make it
# warn, and break ``LoraConfig(**config)``.
_RUN_FIELD = "auto_mapping"
_RUN_KEY = "sano_run_id"


class AdapterRefused(ValueError):
    """The adapter's files may not be loaded. ``reason`` says which check failed and holds no tenant data."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"adapter refused: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Declared:
    """What an adapter's files say of themselves."""

    r: int
    lora_alpha: int
    target_modules: tuple[str, ...]
    base_model_name: str


@dataclass(frozen=True)
class CheckedAdapter(Declared):
    """What the checks established."""

    config_sha256: str
    weights_sha256: str


def config_sha256(config: bytes) -> str:
    """Hex SHA-256 of the canonical JSON (RFC 8785) of ``adapter_config.json``: spacing and key order do not count.

    Raises :class:`AdapterRefused` for what is no JSON object, names a key twice or holds a number without such a form.
    """
    try:
        return sha256_hex(_parse_config(config))
    except ValueError:  # as rfc8785 raises for it
        raise AdapterRefused(f"{CONFIG_FILE} holds a number that canonical JSON has no form for") from None


def weights_sha256(weights: bytes) -> str:
    """Hex SHA-256 of the bytes of ``adapter_model.safetensors``."""
    return hashlib.sha256(weights).hexdigest()


def naming_run(config: Mapping[str, Any], run_id: str) -> dict[str, Any]:
    """The configuration with the run that made the adapter, which is what makes its digest the run's own.

    The same examples give the same weights. Without this a training would give the digest of an earlier one again,
    which may have been retired, with a receipt that says its weights are erased.
    """
    return {**config, _RUN_FIELD: {_RUN_KEY: run_id}}


def check_base_model_name(name: str) -> None:
    """Raises :class:`AdapterRefused` when ``name`` is a path or is not a name such as ``owner/model``."""
    if not _is(_BASE_NAME, name):
        raise AdapterRefused(f"{CONFIG_FILE}: base_model_name_or_path must be a model's name and not a path")


def is_adaptable(module: str) -> bool:
    """Whether an adapter may change the module of this full name: it is part of one of the model's numbered layers,
    and neither one of :data:`VOCABULARY`, which some layers have too, nor a router.
    """
    parts = module.split(".")
    return any(map(str.isdecimal, parts)) and _NEVER_ADAPTED.isdisjoint(parts)


def linear_shapes(base_model: Path) -> dict[str, tuple[int, int]]:
    """(out, in) features of every module that an adapter may change: the two-dimensional weights in the
    ``*.safetensors`` files of a base model that are of :func:`is_adaptable` modules.

    Reads headers only. Raises :class:`~schemas.models.safetensors_header.MalformedSafetensors` and ``OSError``.
    """
    shapes: dict[str, tuple[int, int]] = {}
    for path in sorted(base_model.glob("*.safetensors")):
        for name, entry in read_header(path).tensors.items():
            module = name.removesuffix(".weight")
            if module != name and len(entry.shape) == 2 and is_adaptable(module):
                shapes[module] = (entry.shape[0], entry.shape[1])
    return shapes


def check_adapter_directory(directory: Path, base: LinearShapes | None = None, max_rank: int = 64) -> CheckedAdapter:
    """:func:`check_adapter` of the files in ``directory``, which must be regular files and not links."""
    if any(path.is_symlink() or not path.is_file() for path in directory.iterdir()):
        raise AdapterRefused("every entry must be a regular file")
    names = {path.name for path in directory.iterdir()}
    if names != ADAPTER_FILES:
        raise AdapterRefused(f"the files must be exactly {sorted(ADAPTER_FILES)}")
    return check_adapter({name: (directory / name).read_bytes() for name in names}, base, max_rank)


def check_adapter(files: Mapping[str, bytes], base: LinearShapes | None = None, max_rank: int = 64) -> CheckedAdapter:
    """:func:`check_form` of the files, and their hashes: of 50 MB those take as long as everything else here."""
    declared = check_form(files, base, max_rank)
    return CheckedAdapter(
        **vars(declared),
        config_sha256=config_sha256(files[CONFIG_FILE]),
        weights_sha256=weights_sha256(files[WEIGHTS_FILE]),
    )


def check_form(files: Mapping[str, bytes], base: LinearShapes | None = None, max_rank: int = 64) -> Declared:
    """Check the files of an adapter, given by name, and return what they declare.

    With ``base`` (see :func:`linear_shapes`) every tensor pair must also fit a linear layer of that base model.
    Raises :class:`AdapterRefused`.
    """
    if files.keys() != ADAPTER_FILES:
        raise AdapterRefused(f"the files must be exactly {sorted(ADAPTER_FILES)}")
    return check_declared(files[CONFIG_FILE], check_weights(files[WEIGHTS_FILE]), base, max_rank)


def check_declared(
    config: bytes, header: SafetensorsHeader, base: LinearShapes | None = None, max_rank: int = 64
) -> Declared:
    """:func:`check_form` of weights that :func:`check_weights` passed. Raises :class:`AdapterRefused`."""
    r, lora_alpha, target_modules, base_model_name = _check_config(_parse_config(config), max_rank)
    _check_shapes(header, r, target_modules, base)
    return Declared(r, lora_alpha, target_modules, base_model_name)


def read_weights_header(weights: Path) -> SafetensorsHeader:
    """What a file of weights says of itself; its numbers are not looked at. Raises :class:`AdapterRefused` and
    ``OSError``.
    """
    with _refusing():
        return _fit(read_header(weights))


def check_weights(weights: bytes) -> SafetensorsHeader:
    """:class:`WeightsCheck` of all of them at once."""
    check = WeightsCheck(len(weights))
    check.update(weights)
    return check.header


class WeightsCheck:
    """Checks what weights say of themselves, and that each is a finite number, while they come in order.

    ``size``: bytes of all of them; ``header`` is there when they have come.
    """

    header: SafetensorsHeader

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0  # where the next part begins, with what is held
        self._held = b""  # a header or a number whose rest has not come
        self._runs: list[_Run] | None = None

    def update(self, part: bytes | memoryview) -> None:
        """Raises :class:`AdapterRefused`."""
        part = memoryview(self._held + part if self._held else part)
        if self._runs is None and self._has_header(part):
            with _refusing():
                self.header = _fit(parse_header(part, self._size))
            self._runs = _runs(self.header)
        taken = 0 if self._runs is None else self._check_finite(part, self._runs)
        self._held = bytes(part[taken:])
        self._at += taken

    def _has_header(self, head: memoryview) -> bool:
        """Or what it begins with cannot be one."""
        try:
            return len(head) >= min(8, self._size) and len(head) >= data_start(head, self._size)
        except MalformedSafetensors:
            return True

    def _check_finite(self, part: memoryview, runs: Sequence[_Run]) -> int:
        """How much of it was looked at: all but a number that is cut off at its end."""
        for run in runs:
            begin, end = max(run.begin - self._at, 0), min(run.end - self._at, len(part))
            if begin < end:
                cut = (end - begin) % ITEM_BYTES[run.dtype]
                _require_finite(part[begin : end - cut], run.dtype)
                if cut:
                    return end - cut
        return len(part)


def _parse_config(body: bytes) -> dict[str, Any]:
    def refuse_constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    try:
        config = json.loads(body.decode("utf-8"), object_pairs_hook=unique_keys, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        raise AdapterRefused(f"{CONFIG_FILE} is not a JSON object with unique keys") from None
    if not isinstance(config, dict):
        raise AdapterRefused(f"{CONFIG_FILE} is not a JSON object")
    return config


def _check_config(config: dict[str, Any], max_rank: int) -> tuple[int, int, tuple[str, ...], str]:
    required = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "bias": "none", "init_lora_weights": True}
    for key, value in required.items():
        if config.get(key) != value:
            raise AdapterRefused(f"{CONFIG_FILE}: {key} must be {value!r}")
    r, lora_alpha = config.get("r"), config.get("lora_alpha")
    if type(r) is not int or not 1 <= r <= max_rank:
        raise AdapterRefused(f"{CONFIG_FILE}: r must be an integer from 1 to {max_rank}")
    if type(lora_alpha) is not int or lora_alpha < 1:
        raise AdapterRefused(f"{CONFIG_FILE}: lora_alpha must be a positive integer")
    modules = config.get("target_modules")
    if not isinstance(modules, list) or not modules or not all(_is(_MODULE_NAME, name) for name in modules):
        raise AdapterRefused(f"{CONFIG_FILE}: target_modules must be a list of module names")
    if VOCABULARY.intersection(modules):
        raise AdapterRefused(f"{CONFIG_FILE}: target_modules may not name the embedding or the head of the vocabulary")
    if modules != sorted(set(modules)):
        raise AdapterRefused(f"{CONFIG_FILE}: target_modules must be sorted, each once")
    base_model_name = config.get("base_model_name_or_path")
    if not isinstance(base_model_name, str):
        raise AdapterRefused(f"{CONFIG_FILE}: base_model_name_or_path must be a string")
    check_base_model_name(base_model_name)
    _check_run(config.get(_RUN_FIELD))
    known = required.keys() | _DESCRIPTIVE | {"r", "lora_alpha", "target_modules", "base_model_name_or_path"}
    known |= {_RUN_FIELD}
    for key, value in config.items():
        if key not in known and value:
            raise AdapterRefused(f"{CONFIG_FILE}: {key!r} is not supported here and must be null, false or empty")
    return r, lora_alpha, tuple(modules), base_model_name


def _check_run(named: Any) -> None:
    if named is None:
        return
    if not isinstance(named, dict) or list(named) != [_RUN_KEY] or not _is(_RUN_ID, named[_RUN_KEY]):
        raise AdapterRefused(f"{CONFIG_FILE}: {_RUN_FIELD} may name the run and nothing else")


def _is(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _check_shapes(
    header: SafetensorsHeader, r: int, target_modules: tuple[str, ...], base: LinearShapes | None
) -> None:
    pairs: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, entry in header.tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise AdapterRefused("a tensor is not named base_model.model.<module>.lora_A.weight or .lora_B.weight")
        pairs.setdefault(match["module"], {})[match["side"]] = entry.shape
    for module, sides in pairs.items():
        if sides.keys() != {"A", "B"}:
            raise AdapterRefused("a module has only one of lora_A and lora_B")
        a, b = sides["A"], sides["B"]
        if len(a) != 2 or len(b) != 2 or a[0] != r or b[1] != r:
            raise AdapterRefused(f"a tensor's shape does not fit r={r}")
        if module.rpartition(".")[2] not in target_modules:
            raise AdapterRefused("a module is not one of target_modules")
        if not is_adaptable(module):
            raise AdapterRefused("a module is none that an adapter may change")
        if base is not None and base.get(module) != (b[0], a[1]):
            raise AdapterRefused("a module does not fit any linear layer of the base model")
    if {module.rpartition(".")[2] for module in pairs} != set(target_modules):
        raise AdapterRefused("one of target_modules has no tensors")


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except MalformedSafetensors as error:
        raise AdapterRefused(f"{WEIGHTS_FILE}: {error}") from None


def _fit(header: SafetensorsHeader) -> SafetensorsHeader:
    if header.metadata.keys() - {"format"}:
        raise AdapterRefused("the weights' metadata may hold nothing but 'format'")
    if any(entry.dtype not in _INFINITIES for entry in header.tensors.values()):
        raise AdapterRefused(f"a tensor is not {', '.join(_INFINITIES)}")
    return header


@dataclass(frozen=True)
class _Run:
    """Tensors of one dtype that lie side by side: from ``begin`` to ``end`` in the file. To look at hundreds of small
    ones, each for itself, takes several times as long.
    """

    dtype: str
    begin: int
    end: int


def _runs(header: SafetensorsHeader) -> list[_Run]:
    tensors = sorted(header.tensors.values(), key=attrgetter("begin", "end"))
    together = [list(same) for _, same in groupby(tensors, key=attrgetter("dtype"))]
    return [_Run(same[0].dtype, same[0].begin, same[-1].end) for same in together]


def _require_finite(numbers: memoryview, dtype: str) -> None:
    """An infinity or a NaN has every exponent bit set. So of numbers without a sign it is the greatest by its bits read
    as a signed integer, and of those with one by its bits read as an unsigned integer.
    """
    import numpy  # a third of a second, which commands that look at no adapter are spared

    width, infinity = _INFINITIES[dtype]
    signed, unsigned = (numpy.frombuffer(numbers, dtype=f"<{kind}{width}") for kind in "iu")
    if signed.max(initial=0) >= infinity or unsigned.max(initial=0) >= infinity + (1 << 8 * width - 1):
        raise AdapterRefused("a tensor holds an infinity or a NaN")
