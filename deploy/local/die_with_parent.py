"""Runs a program that the kernel kills when the given parent ends: ``die_with_parent.py PID PROGRAM ARG...``

Run as a file under ``python -I -S``, so it imports the standard library only. The kernel keeps the request over
exec. It fires when the *thread* that forked us ends, so the parent must fork from a thread that lives as long as
it does (see processes.py).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    parent, program = int(argv[1]), argv[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # The parent may have ended before the request was made; then nobody would ever kill us.
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(program[0], program)  # noqa: S606 - the caller's own program, no shell


if __name__ == "__main__":
    main(sys.argv)
