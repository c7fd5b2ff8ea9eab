"""Reads FHIR files: Bundles, single resources, NDJSON, and the folder or the manifest of a Bulk ``$export``.

A resource that cannot be read is one refusal, which names the file and the place and quotes nothing. The others go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from producers.sources.fhir.resources import NAME, Resources, relative, stand_in, validated
from producers.sources.source import placed
from schemas.base.json_text import parse_json
from tenancy.errors import Refused
from tenancy.platform.given_files import read_handed_over

MANIFEST = "manifest.json"
_BESIDE = frozenset({"Binary"})  # what resources that are read refer to


@dataclass(frozen=True)
class _Deletion:
    """An entry that says what the server deleted: ``request`` with DELETE, and no resource."""

    name: str = field(repr=False)


def read_files(paths: Sequence[Path], types: frozenset[str]) -> tuple[Resources, list[Refused]]:
    """Every resource of these types in the files, and what was refused. Raises Refused where a file is not there."""
    resources, refused = Resources(), list[Refused]()
    for file in [file for path in paths for file in _files(path, refused)]:
        for where, full_url, value in _entries(file):
            if isinstance(value, Refused):
                refused.append(value)
                continue
            if isinstance(value, _Deletion):
                if value.name.partition("/")[0] in types:
                    resources.deleted.setdefault(value.name, where)
                continue
            try:
                resource = validated(value, types | _BESIDE)
            except Refused as refusal:
                refused.append(placed(where, refusal))
                resource = stand_in(value)
            try:
                if resource is not None:
                    resources.add(resource, full_url, where)
            except Refused as refusal:
                refused.append(placed(where, refusal))
    return resources, refused


def _files(path: Path, refused: list[Refused]) -> Iterator[Path]:
    """The files that a path stands for: itself, those of a folder, or the ones that a manifest names beside it."""
    if path.is_dir():
        if (path / MANIFEST).is_file():
            yield from _files(path / MANIFEST, refused)
            return
        found = sorted(file for suffix in ("*.ndjson", "*.json") for file in path.glob(suffix))
        if not found:
            raise Refused("empty-folder", f"refused: {path} holds no .ndjson and no .json file")
        yield from found
        return
    manifest = _manifest(path)
    if manifest is None:
        yield path
        return
    for part in ("output", "deleted"):
        named = manifest.get(part) or []
        for number, one in enumerate(named if isinstance(named, list) else [None]):
            file = _beside(path, one)
            if file is not None:
                yield file
                continue
            why = f"{path}: {part} {number}: refused: no file beside the manifest has the name at the end of its url"
            refused.append(Refused("unreadable-file", why))
    if manifest.get("error"):
        why = f"{path}: refused: the server reports errors of its export; see the files of its `error`"
        refused.append(Refused("export-errors", why))


def _beside(manifest: Path, named: Any) -> Path | None:
    """The file beside the manifest for one of those that it names, or None where there is none."""
    url = named.get("url") if isinstance(named, dict) else None
    if not isinstance(url, str):
        return None
    name = url.rstrip("/").rpartition("/")[2]
    beside = (manifest.parent / one for one in (name, f"{name}.ndjson"))
    return next((one for one in beside if _is_file(one)), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a longer name than any file has
        return False


def _manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of an export, or None where the file is something else."""
    if path.suffix == ".ndjson":
        return None
    try:
        value = parse_json(_body(path))
    except ValueError:
        return None
    is_manifest = isinstance(value, dict) and "resourceType" not in value and isinstance(value.get("output"), list)
    return value if is_manifest else None


def _entries(path: Path) -> Iterator[tuple[str, str | None, Any]]:
    """Place, ``fullUrl`` and value of each resource; a refusal in the value's place where it cannot be read."""
    body = _body(path)
    lines = [(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    if path.suffix == ".ndjson" or (len(lines) > 1 and _is_json(lines[0][1]) and _is_json(lines[1][1])):
        for number, line in lines:
            where = f"{path}:{number}"
            yield from _of_value(_parsed(line, where), where)
        return
    yield from _of_value(_parsed(body, str(path)), str(path))


def _of_value(value: Any, where: str) -> Iterator[tuple[str, str | None, Any]]:
    """The entries of a Bundle, as the files of what was deleted are lines of; anything else by itself."""
    if not isinstance(value, dict) or value.get("resourceType") != "Bundle":
        yield where, None, value
        return
    entries = value.get("entry", [])
    if not isinstance(entries, list):
        yield where, None, Refused("bad-bundle", f"{where}: refused: Bundle: its entry is not a list")
        return
    for number, entry in enumerate(entries):
        place = f"{where}: entry {number}"
        if not isinstance(entry, dict):
            yield place, None, Refused("bad-bundle", f"{place}: refused: it is not a JSON object")
        elif "resource" in entry:
            url = entry.get("fullUrl")
            yield place, url if isinstance(url, str) else None, entry["resource"]
        elif isinstance(request := entry.get("request"), dict) and request.get("method") == "DELETE":
            yield place, None, _deletion(request.get("url"), place)


def _deletion(url: Any, place: str) -> _Deletion | Refused:
    name = relative(url) if isinstance(url, str) else ""
    if NAME.fullmatch(name):
        return _Deletion(name)
    return Refused("bad-deletion", f"{place}: refused: what was deleted is not named as Type/id")


def _body(path: Path) -> bytes:
    return read_handed_over(path).removeprefix(b"\xef\xbb\xbf")


def _parsed(raw: bytes, where: str) -> Any:
    try:
        return parse_json(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return Refused("bad-line", f"{where}: refused: it is not UTF-8")
    except ValueError:
        return Refused("bad-line", f"{where}: refused: it is not JSON, or nested too deep")


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(parse_json(line), dict)
    except ValueError:
        return False
