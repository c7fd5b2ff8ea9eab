"""Prints what the local stack takes of one core while nobody asks it for anything, by process with its children.

    python -m tests.bench.idle_stack [SECONDS]

in a folder in which ``sano up`` has started one.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil

from deploy.local.services import Folders
from deploy.local.stack_file import StackFile

SECONDS = 60.0


def used(pid: int) -> float:
    """Seconds of processor time of a process and its children that run."""
    parent = psutil.Process(pid)
    times = [each.cpu_times() for each in (parent, *parent.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    stack = StackFile.read(Folders(Path.cwd() / ".sano").stack_file)
    if stack is None:
        raise SystemExit("the local stack is not up in this folder; run `sano up`")
    before = {process.name: used(process.pid) for process in stack.processes}
    time.sleep(seconds)
    share = {process.name: (used(process.pid) - before[process.name]) / seconds for process in stack.processes}
    for name, part in {**share, "all of it": sum(share.values())}.items():
        print(f"{name:20} {part:6.1%}")


if __name__ == "__main__":
    main()
