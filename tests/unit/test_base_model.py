"""How the base model is found, built once, and told apart from any other."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from consumers.training import smollm2
from consumers.training.base_model import main, prepare_base_model
from schemas.models.model_digest import CACHE_FILE, NotAModelDirectory, model_digest


def write_model(directory: Path, weights: bytes = b"weights") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text("{}")
    (directory / "tokenizer.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(weights)
    return directory


def test_the_digest_is_of_names_and_contents_and_not_of_the_place(tmp_path: Path) -> None:
    digest = model_digest(write_model(tmp_path / "a"))

    assert digest == model_digest(write_model(tmp_path / "b"))
    assert digest != model_digest(write_model(tmp_path / "c", b"other weights"))


def test_files_that_do_not_define_the_model_leave_the_digest_alone(tmp_path: Path) -> None:
    model = write_model(tmp_path / "a")
    digest = model_digest(model)
    (model / "generation_config.json").write_text('{"temperature": 0.2}')
    (model / "README.md").write_text("about")
    (model / CACHE_FILE).unlink()

    assert model_digest(model) == digest


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_changed_file_changes_the_digest_in_spite_of_the_cache(tmp_path: Path, file: str) -> None:
    model = write_model(tmp_path / "a")
    digest = model_digest(model)
    status = (model / file).stat()
    (model / file).write_bytes(b"x" * status.st_size)
    os.utime(model / file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))

    assert model_digest(model) != digest


def test_the_digest_is_computed_once_while_no_file_changes(tmp_path: Path) -> None:
    model = write_model(tmp_path / "a")
    model_digest(model)
    cached = json.loads((model / CACHE_FILE).read_bytes())
    (model / CACHE_FILE).write_text(json.dumps({**cached, "digest": "from the cache"}))

    assert model_digest(model) == "from the cache"


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b'{"digest": 1}'])
def test_a_damaged_cache_is_ignored(tmp_path: Path, damage: bytes) -> None:
    model = write_model(tmp_path / "a")
    digest = model_digest(model)
    (model / CACHE_FILE).write_bytes(damage)

    assert model_digest(model) == digest


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_directory_without_a_model_is_refused(tmp_path: Path, missing: str) -> None:
    model = write_model(tmp_path / "a")
    (model / missing).unlink()

    with pytest.raises(NotAModelDirectory):
        prepare_base_model(str(model), tmp_path / "cache")


def test_smollm2_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds: list[Path] = []

    def build(directory: Path) -> None:
        builds.append(directory)
        write_model(directory)

    monkeypatch.setattr(smollm2, "build_smollm2", build)

    first = prepare_base_model("smollm2", tmp_path / "cache")

    assert prepare_base_model("smollm2", tmp_path / "cache") == first
    assert len(builds) == 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [first.path.name]


def test_two_processes_that_build_at_once_both_get_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process publishes while this one is still building."""

    def build_and_be_overtaken(directory: Path) -> None:
        write_model(directory)
        monkeypatch.setattr(smollm2, "build_smollm2", write_model)
        prepare_base_model("smollm2", tmp_path / "cache")

    monkeypatch.setattr(smollm2, "build_smollm2", build_and_be_overtaken)

    base = prepare_base_model("smollm2", tmp_path / "cache")

    assert base.digest == model_digest(base.path)
    assert list((tmp_path / "cache").iterdir()) == [base.path]


def test_a_build_that_fails_leaves_nothing_that_looks_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(directory: Path) -> None:
        (directory / "config.json").write_text("{}")
        raise OSError("disk full")

    monkeypatch.setattr(smollm2, "build_smollm2", fail)

    with pytest.raises(OSError, match="disk full"):
        prepare_base_model("smollm2", tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_the_command_prints_the_path_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "a")

    assert main(["--source", str(model), "--cache-dir", str(tmp_path / "cache")]) == 0
    assert capsys.readouterr().out == f"{model}\n"
