"""Writes a trained adapter as the two files that are published, the same bytes for the same weights."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from schemas.base.canonical import canonical_json
from schemas.models.adapter_files import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    CheckedAdapter,
    check_adapter_directory,
    linear_shapes,
    naming_run,
)


def save_adapter(model: Any, output_dir: Path, base_model: Path, base_model_name: str, run_id: str) -> CheckedAdapter:
    """Save a PEFT model's adapter into ``output_dir``, which is created and must be empty, and check what was written.

    PEFT's configuration lists ``target_modules`` in the order of a set, which differs from process to process, and
    holds the local path of the base model. Both are replaced, the run is added, and the model card is left out.
    Raises :class:`~schemas.models.adapter_files.AdapterRefused` when the written files would be refused by a server.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir.parent, prefix=f".{output_dir.name}.") as scratch:
        model.save_pretrained(scratch)
        config = json.loads((Path(scratch) / CONFIG_FILE).read_text())
        config["target_modules"] = sorted(config["target_modules"])
        config["base_model_name_or_path"] = base_model_name
        # As canonical JSON, so that the digest of the configuration is that of the file, which anyone can check.
        (output_dir / CONFIG_FILE).write_bytes(canonical_json(naming_run(config, run_id)))
        shutil.move(Path(scratch) / WEIGHTS_FILE, output_dir / WEIGHTS_FILE)
    return check_adapter_directory(output_dir, linear_shapes(base_model))
