"""Computes the digest that identifies a directory's base model. It only hashes, so every process can afford it."""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path

from schemas.base.canonical import sha256_hex
from schemas.base.json_text import parse_json

CACHE_FILE = "digest.json"

_DEFINING_NAMES = frozenset(
    {
        "added_tokens.json",
        "chat_template.jinja",
        "config.json",
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
    }
)

HUB_PATTERNS = ("*.json", "*.jinja", "*.safetensors", "merges.txt", "tokenizer.model")
"""What is fetched of a model from a hub: never pickled weights, and the same by trainers and servers."""


class NotAModelDirectory(ValueError):
    """The directory lacks ``config.json``, a tokenizer or safetensors weights."""


def defining_files(model: Path) -> list[Path]:
    """The files of ``model`` that decide what it computes, sorted by name.

    ``generation_config.json`` is left out: sampling defaults may change without making an adapter foreign.
    Raises :class:`NotAModelDirectory`.
    """
    if not model.is_dir():
        raise NotAModelDirectory(f"{model} is not a directory; give one that holds a transformers model")
    files = sorted(
        (path for path in model.iterdir() if path.name in _DEFINING_NAMES or path.suffix == ".safetensors"),
        key=lambda path: path.name,
    )
    names = {path.name for path in files}
    if "config.json" not in names:
        raise NotAModelDirectory(f"{model} has no config.json; give the directory that holds it")
    if not any(name.endswith(".safetensors") for name in names):
        raise NotAModelDirectory(f"{model} has no *.safetensors; convert pickled weights to safetensors first")
    if not names & {"tokenizer.json", "tokenizer.model", "vocab.json"}:
        raise NotAModelDirectory(f"{model} has no tokenizer; save the tokenizer beside the weights")
    return files


def model_digest(model: Path) -> str:
    """Lower-case hex SHA-256 over the sorted list of ``[file name, sha256 of the file]``.

    Hashing 269 MB takes a good part of a second, so the result is kept in ``digest.json`` beside the weights and
    used again while every file's size and modification time are the same. Where the directory cannot be written
    the digest is computed each time. Raises :class:`NotAModelDirectory`.
    """
    files = defining_files(model)
    stamps = [_stamp(path) for path in files]
    cached = _read_cache(model / CACHE_FILE, stamps)
    if cached is not None:
        return cached
    digest = sha256_hex([[path.name, file_sha256(path)] for path in files])
    _write_cache(model / CACHE_FILE, {"digest": digest, "files": stamps})
    return digest


def _stamp(path: Path) -> list[str | int]:
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]


def file_sha256(path: Path) -> str:
    """Lower-case hex SHA-256 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_cache(path: Path, stamps: list[list[str | int]]) -> str | None:
    try:
        cached = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(cached, dict) or cached.get("files") != stamps:
        return None
    digest = cached.get("digest")
    return digest if isinstance(digest, str) else None


def _write_cache(path: Path, value: dict[str, object]) -> None:
    # A reader must never see half a file, and two processes may compute the digest at once.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        temporary.write_text(json.dumps(value))
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
