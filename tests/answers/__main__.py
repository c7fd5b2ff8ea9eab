"""``python -m tests.answers [--sample] [--report FILE]`` prints the tables, and keeps them in ``result.json``.

``--sample`` asks what a test has time for, and keeps nothing unless a file is named.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from consumers.training.processor import select_processor
from deploy.local.base_model import base_model_folder
from deploy.local.settings import LocalSettings, inherited_environment
from tenancy.embedding.opening import open_embedder
from tenancy.embedding.settings import EmbedderSettings
from tests.answers.asking import Retrieved, retrieved
from tests.answers.hospital import When
from tests.answers.measure import adapters, answered, of_retrieval
from tests.answers.table import RESULT, table, table_of_injections


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.answers", description="what models answer from documents")
    parser.add_argument("--sample", action="store_true", help="fewer questions and one adapter")
    parser.add_argument("--report", type=Path, help=f"where the result is written; default {RESULT.name}")
    options = parser.parse_args()
    _compute_alone()
    with tempfile.TemporaryDirectory(prefix="sano-answers-") as home:
        result = _measured(Path(home), is_sample=options.sample)
    if report := options.report or (None if options.sample else RESULT):
        report.write_text(json.dumps(result, indent=2) + "\n")
    tables = f"{table(result['answers'])}\n\n{table_of_injections(result['injections'])}"
    sys.stdout.write(f"{tables}\n{json.dumps(result['retrieval'], indent=2)}\n")


def _compute_alone() -> None:
    """Two threads wait for each other awake: beside other processes an answer took three times as long. And the
    arithmetic is the same on any number of cores."""
    import torch

    torch.set_num_threads(1)


def _measured(home: Path, *, is_sample: bool) -> dict[str, Any]:
    base = Path(base_model_folder(LocalSettings(), inherited_environment()))
    found = asyncio.run(_retrieved(home))
    began = time.process_time()
    worn = adapters(base, home, is_sample=is_sample)
    trained = time.process_time()
    cells, obeyed = answered(base, worn, found, is_sample=is_sample)
    processor = select_processor("auto")
    return {
        "answers": [asdict(cell) for cell in cells],
        "injections": [asdict(cell) for cell in obeyed],
        "retrieval": of_retrieval(found),
        "base": base.name,
        "processor": processor.description,
        "precision": processor.precision,
        "seconds of the processor": {
            "training": round(trained - began, 1),
            "answering": round(time.process_time() - trained, 1),
        },
        "load of the machine": [round(load, 1) for load in os.getloadavg()],
    }


async def _retrieved(home: Path) -> Mapping[When, list[Retrieved]]:
    async with open_embedder(EmbedderSettings(), home) as embedder:
        if embedder is None:
            raise RuntimeError("the embedder's package is not installed")
        return await retrieved(embedder)


if __name__ == "__main__":
    main()
