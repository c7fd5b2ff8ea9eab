"""The serving replica, with a watch on its event loop and few file descriptors: see :mod:`tests.attack.stand`.

vLLM's processes are spawned and import this module anew, so nothing may start outside ``main``.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

from inference import app

LOOP_FILE = "ATTACK_LOOP_FILE"
DESCRIPTORS = "ATTACK_DESCRIPTORS"


def main() -> None:
    from tests.attack.loop_watch import Watch

    limit = int(os.environ[DESCRIPTORS])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    Watch(Path(os.environ[LOOP_FILE])).install()
    app.main()


if __name__ == "__main__":
    main()
