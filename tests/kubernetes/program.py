"""Builds the one program of the tests that concern Kubernetes, into the set-up cache, once for each set of pins.

``python -m tests.kubernetes.program`` does that before the tests: five minutes of two cores from nothing. Sources come
through Go's own module proxy, pinned by their sums; Go itself is a wheel.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from deploy.local.errors import LocalStackError
from deploy.local.fetched import fetch_once, run_fetch
from deploy.local.settings import LocalSettings, inherited_environment
from tests.fixtures.wheels import ProgramFetchFailed, install_wheels

SOURCE = Path(__file__).with_name("source")
GO_PINS = SOURCE / "go-pins.txt"
PINNED = ("go.mod", "go.sum", "main.go", GO_PINS.name)
BUILD_SECONDS = 1800
# Helm and clients ask the server for its version.
VERSION = {"gitVersion": "v1.36.3", "gitMajor": "1", "gitMinor": "36"}


def control_plane_program(cache_dir: Path) -> Path:
    """The program; built where the cache has none. Raises :class:`ProgramFetchFailed`."""
    pins = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in PINNED)).hexdigest()[:16]
    return fetch_once(cache_dir / f"control-plane-{pins}", _build) / "control-plane"


def _build(target: Path) -> None:
    flags = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in VERSION.items())
    target.mkdir()
    # Go's caches are many times as large as the program, and of no use later.
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        install_wheels("Go", GO_PINS, Path(scratch, "go"))
        go = f"{scratch}/go/go/bin/go"
        folders = {"GOPATH": f"{scratch}/path", "GOCACHE": f"{scratch}/cache", "GOTMPDIR": scratch}
        own = {"GOROOT": f"{scratch}/go/go", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false -modcacherw"}
        environment = {**inherited_environment(), **folders, **own}
        command = [go, "build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(target / "control-plane"), "."]
        failed = partial(ProgramFetchFailed, "the control plane")
        done = run_fetch(
            command, BUILD_SECONDS, failed, cwd=SOURCE, env=environment, preexec_fn=lambda: os.nice(10) and None
        )
    if done.returncode != 0:
        raise ProgramFetchFailed("the control plane", done.stderr.strip().splitlines()[-1])


if __name__ == "__main__":
    try:
        print(control_plane_program(LocalSettings().cache_dir))
    except LocalStackError as lacking:
        print(f"WARNING: {lacking}; tests that concern Kubernetes are skipped", file=sys.stderr)
