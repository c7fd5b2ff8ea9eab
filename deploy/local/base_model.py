"""Finds the folder that holds the base model of this stack."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local.errors import BaseModelMissing
from deploy.local.settings import LocalSettings

DEFAULT_SOURCE = "smollm2"
PREPARE_SECONDS = 600


def base_model_folder(settings: LocalSettings, env: Mapping[str, str]) -> str:
    """SANO_BASE_MODEL when that is a folder; else what ``consumers.training.base_model`` finds or prepares.

    In a process of its own, since preparing imports torch. Raises :class:`BaseModelMissing`.
    """
    source = settings.base_model or DEFAULT_SOURCE
    if Path(source).is_dir():
        return str(Path(source).absolute())
    models = settings.cache_dir.absolute() / "models"
    command = [sys.executable, "-m", "consumers.training.base_model", "--source", source, "--cache-dir", str(models)]
    try:
        done = subprocess.run(
            command, env=dict(env), capture_output=True, text=True, timeout=PREPARE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BaseModelMissing(f"{source} was not prepared within {PREPARE_SECONDS} s") from None
    if done.returncode != 0:
        raise BaseModelMissing((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
    return done.stdout.strip().splitlines()[-1]
