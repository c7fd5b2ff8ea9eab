"""Scratch folders of training: nothing in clear outlives the process that wrote it."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from consumers.training.scratch import FOLDER, scratch_folder, sweep_scratch

HOLDER = """
import sys, time
from pathlib import Path
from consumers.training.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1]), "run-1") as folder:
    (folder / "weights").write_bytes(b"in clear")
    print("holding", flush=True)
    time.sleep(600)
"""


def left_in(work_dir: Path) -> list[Path]:
    return list((work_dir / FOLDER).rglob("*"))


def test_a_folder_is_private_and_gone_when_it_is_left_also_by_an_error(tmp_path: Path) -> None:
    with scratch_folder(tmp_path, "run-1") as folder:
        (folder / "weights").write_bytes(b"x")
        assert folder.stat().st_mode & 0o077 == 0
    assert left_in(tmp_path) == []
    with pytest.raises(RuntimeError), scratch_folder(tmp_path, "run-1") as folder:
        (folder / "weights").write_bytes(b"x")
        raise RuntimeError
    assert left_in(tmp_path) == []


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"holding\n"
        assert sweep_scratch(tmp_path) == 0
        assert any(path.name == "weights" for path in left_in(tmp_path))
        child.kill()
        child.wait()
        assert any(path.name == "weights" for path in left_in(tmp_path)), "a killed process cleans nothing up"
        assert sweep_scratch(tmp_path) == 1
        assert left_in(tmp_path) == []
    finally:
        child.kill()
        child.wait()


def test_two_attempts_at_one_run_have_folders_of_their_own(tmp_path: Path) -> None:
    with scratch_folder(tmp_path, "run-1") as one, scratch_folder(tmp_path, "run-1") as other:
        assert one != other
        assert sweep_scratch(tmp_path) == 0


def test_a_sweep_between_making_and_holding_costs_another_folder_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    swept: list[int] = []

    def late(handle: int, operation: int) -> None:
        if not swept and operation == fcntl.LOCK_EX:
            swept.append(sweep_scratch(tmp_path))
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with scratch_folder(tmp_path, "run-1") as folder:
        assert swept == [1]
        (folder / "weights").write_bytes(b"x")
        assert sweep_scratch(tmp_path) == 0


def test_there_is_nothing_to_sweep_where_nobody_ever_worked(tmp_path: Path) -> None:
    assert sweep_scratch(tmp_path / "never") == 0
