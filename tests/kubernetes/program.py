"""Builds the one program of the tests that concern Kubernetes, into the set-up cache, once for each set of pins.

``python -m tests.kubernetes.program`` does that before the tests: five minutes of two cores from nothing. Sources come
through Go's own module proxy, pinned by their sums. It needs Go 1.26.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.local.errors import LocalStackError, ProgramFetchFailed, ToolMissing
from deploy.local.fetched import fetch_once
from deploy.local.settings import LocalSettings, inherited_environment

SOURCE = Path(__file__).with_name("source")
PINNED = ("go.mod", "go.sum", "main.go")
BUILD_SECONDS = 1800
# Helm and clients ask the server for its version.
VERSION = {"gitVersion": "v1.36.3", "gitMajor": "1", "gitMinor": "36"}


def control_plane_program(cache_dir: Path) -> Path:
    """The program; built where the cache has none.

    Raises :class:`ToolMissing` without Go, and :class:`ProgramFetchFailed`.
    """
    pins = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in PINNED)).hexdigest()[:16]
    return fetch_once(cache_dir / f"control-plane-{pins}", _build) / "control-plane"


def _build(target: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise ToolMissing("go", "the Kubernetes control plane of the tests")
    flags = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in VERSION.items())
    target.mkdir()
    # Go's caches are many times as large as the program, and of no use later.
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folders = {"GOPATH": f"{scratch}/path", "GOCACHE": f"{scratch}/cache", "GOTMPDIR": scratch}
        environment = {**inherited_environment(), **folders, "GOFLAGS": "-buildvcs=false -modcacherw"}
        command = [go, "build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", str(target / "control-plane"), "."]
        try:
            done = subprocess.run(
                command,
                cwd=SOURCE,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=BUILD_SECONDS,
                check=False,
                preexec_fn=lambda: os.nice(10) and None,
            )
        except subprocess.TimeoutExpired:
            raise ProgramFetchFailed("the control plane", f"not built within {BUILD_SECONDS} s") from None
    if done.returncode != 0:
        raise ProgramFetchFailed("the control plane", done.stderr.strip().splitlines()[-1])


if __name__ == "__main__":
    try:
        print(control_plane_program(LocalSettings().cache_dir))
    except LocalStackError as lacking:
        print(f"WARNING: {lacking}; tests that concern Kubernetes are skipped", file=sys.stderr)
