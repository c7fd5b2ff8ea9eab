"""Generates the JSON Schemas and the AsyncAPI document: ``python -m schemas.generate [--check]``."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from schemas.bus.asyncapi import document, to_yaml
from schemas.bus.events import EVENT_TYPES
from schemas.bus.json_schemas import golden_schema

GOLDEN = Path(__file__).parent / "golden"
SCHEMA_SUFFIX = ".v1.schema.json"


def golden_file(event_type: str) -> str:
    """The file name of an event type's JSON Schema."""
    return event_type.removeprefix("sano.") + SCHEMA_SUFFIX


def generated() -> dict[str, str]:
    """File name in ``schemas/golden/`` to content."""
    files = {
        golden_file(event_type): json.dumps(golden_schema(event_type), indent=2) + "\n" for event_type in EVENT_TYPES
    }
    files["asyncapi.yaml"] = to_yaml(document())
    return files


def stale(folder: Path = GOLDEN) -> list[str]:
    """The names of files that are missing, out of date or no longer generated."""
    wanted = generated()
    present = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} if folder.is_dir() else {}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def write(folder: Path = GOLDEN) -> list[str]:
    """Bring the folder up to date and return the names of what changed."""
    wanted, changed = generated(), stale(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in wanted:
            (folder / name).write_text(wanted[name], encoding="utf-8")
        else:
            (folder / name).unlink()
    return changed


def main(arguments: Sequence[str] | None = None, folder: Path = GOLDEN) -> None:
    parser = ArgumentParser(prog="python -m schemas.generate", description="JSON Schemas and the AsyncAPI document.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when anything is out of date")
    check = parser.parse_args(arguments).check
    names = stale(folder) if check else write(folder)
    for name in names:
        print(f"{'out of date' if check else 'wrote'}: schemas/golden/{name}")
    if check and names:
        raise SystemExit("run `python -m schemas.generate` and commit what it writes")


if __name__ == "__main__":
    main()
