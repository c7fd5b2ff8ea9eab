"""What killed processes left in shared memory is removed, and nothing that anybody uses."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.shared_memory import SharedMemory

from inference.engine.shared_memory import FOLDER, descendants, mapped, unlink

BOUND_SECONDS = 30


def hold(connection: Connection, name: str | None) -> None:
    """In a process of its own: map a segment, a new one where none is named, and keep it."""
    segment = SharedMemory(name, create=name is None, size=4096)
    connection.send(segment.name)
    connection.recv()


@contextmanager
def holding(name: str | None = None) -> Iterator[tuple[BaseProcess, str]]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=hold, args=(theirs, name))
    process.start()
    try:
        assert ours.poll(BOUND_SECONDS)
        yield process, ours.recv()
    finally:
        killed(process)


def killed(process: BaseProcess) -> None:
    process.kill()
    process.join(BOUND_SECONDS)


def test_a_segment_of_a_killed_process_is_removed_once_nobody_has_it_mapped() -> None:
    other = SharedMemory(create=True, size=4096)
    try:
        with holding() as (creator, name), holding(name) as (reader, _):
            noted = mapped(descendants(os.getpid()))
            assert noted == {name}, "not what this process or another program has"
            killed(creator)
            assert unlink(noted, 0.1) == {name}
            assert (FOLDER / name).exists(), "the reader has it still"
            killed(reader)
            assert unlink(noted, BOUND_SECONDS) == set()
            assert not (FOLDER / name).exists()
            assert (FOLDER / other.name).exists()
            assert unlink(noted) == set(), "what is gone is no error"
    finally:
        other.close()
        other.unlink()


def test_the_processes_of_processes_are_found() -> None:
    assert os.getpid() in descendants(os.getppid())
    assert {os.getpid(), *descendants(os.getpid())} <= descendants(1) | {1}
