"""Runs a service that stops at one effect until it is let go on: ``python -m tests.kubernetes.held WHERE MODULE …``.

Whatever happens to it then happens in the middle of its work, however fast the machine is.
"""

from __future__ import annotations

import os
import signal

from tests.world import crashing
from tests.world.effects import KillAt


class HoldAt(KillAt):
    """Stops its own process (SIGSTOP) at one effect."""

    def _kill_if_due(self, when: str, effect: str) -> None:
        if (when, effect) == (self.when, self.effect):
            os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    setattr(crashing, KillAt.__name__, HoldAt)
    crashing.main()
