"""Runs a service that kills itself at one effect: ``python -m tests.world.crashing before:put:examples MODULE …``."""

from __future__ import annotations

import runpy
import sys
from typing import Any

from tenancy import bootstrap
from tenancy.bootstrap import Tenancy
from tenancy.bus import Publisher
from tenancy.storage.master_keys import MasterKey
from tenancy.storage.objects import ObjectStore
from tests.world.effects import KillAt, ObservedObjectStore, ObservedPublisher


def argv_of(module: str, crash_at: str | None) -> list[str]:
    """What starts the service's module, with a crash point or without."""
    crashing = [] if crash_at is None else [__name__, crash_at]
    return [sys.executable, "-m", *crashing, module]


def main() -> None:
    crash_at, module, *arguments = sys.argv[1:]
    observer, assemble = KillAt.parse(crash_at), bootstrap.assemble

    def observed(objects: ObjectStore, master: MasterKey, publisher: Publisher, *rest: Any) -> Tenancy:
        return assemble(ObservedObjectStore(objects, observer), master, ObservedPublisher(publisher, observer), *rest)

    setattr(bootstrap, assemble.__name__, observed)  # open_tenancy looks it up when it is called
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
