"""The demo's memory is that of all its processes, however briefly it was held."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import psutil
import pytest

from producers.demo import memory
from producers.demo.memory import MemoryPeak, proportional_bytes, total, tree

HOLD = "held = bytearray(b'x') * (200 << 20); print('held', flush=True); input()"


def test_the_memory_of_a_child_of_a_child_counts() -> None:
    before = total(tree(os.getpid()), proportional_bytes)
    argv = ["sh", "-c", f'"{sys.executable}" -c "{HOLD}"; true']
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        assert shell.stdin is not None
        assert shell.stdout.readline() == "held\n"
        with MemoryPeak() as peak:
            pass
        shell.stdin.write("\n")
        shell.stdin.flush()
        assert shell.wait(30) == 0
    assert peak.bytes - before > 190 << 20
    assert peak.gib * 2**30 == peak.bytes


def test_a_process_that_has_ended_counts_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as ended:
        [process] = tree(ended.pid)
    assert total([process], proportional_bytes) == 0
    assert tree(ended.pid) == []


def test_pages_are_walked_again_only_when_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    resident, walks, all_looked_at = [100, 100.5, 90, 102, 102.5], [], threading.Event()

    def looked(_: object) -> float:
        if len(resident) == 1:
            all_looked_at.set()
            return resident[0]
        return resident.pop(0)

    def walked(_: object) -> int:
        walks.append(1)
        return len(walks)

    monkeypatch.setattr(memory, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(memory, "tree", lambda _: [psutil.Process()])
    monkeypatch.setattr(memory, "resident_bytes", looked)
    monkeypatch.setattr(memory, "proportional_bytes", walked)
    with MemoryPeak() as peak:
        assert all_looked_at.wait(30)
    assert peak.bytes == len(walks) == 2
