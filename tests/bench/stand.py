"""The real services that entries measure on, each stopped by its own handle, and a way to look at their processes."""

from __future__ import annotations

import os
import secrets
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import SecretStr

from deploy.local.embedded import REGION, Credentials, create_bucket, s3_client
from deploy.local.kafka import KafkaCluster
from deploy.local.kafka_jars import fetch_kafka_jars
from deploy.local.key_files import ensure_key
from deploy.local.ports import accepts_connections, free_ports
from deploy.local.processes import ChildProcess, Command, start_ready
from deploy.local.services import PROJECT_ROOT
from deploy.local.settings import LocalSettings, inherited_environment
from producers.operations.trust_admin import ensure_keys
from tenancy import bootstrap
from tenancy.platform.settings import PlatformSettings
from tenancy.storage.s3 import S3ObjectStore
from tests.bench import delay_proxy, seeded_store
from tests.fixtures.seaweedfs import fetch_seaweedfs, start_seaweedfs

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_ELSEWHERE = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION")
PROXY_SECONDS = 30.0
WEED = "SeaweedFS"
"""What results name the store of :func:`weed`."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Store:
    """An S3 that runs. ``process`` is the server's."""

    endpoint_url: str
    credentials: Credentials
    process: ChildProcess

    def bucket(self, name: str) -> str:
        """A new versioned bucket whose name begins with ``name``."""
        made = f"{name}-{secrets.token_hex(4)}"
        create_bucket(self.endpoint_url, made, self.credentials)
        return made

    def settings(self, bucket: str) -> dict[str, str]:
        """Of the environment of a service that has this bucket."""
        return {
            "SANO_S3_ENDPOINT_URL": self.endpoint_url,
            "SANO_S3_BUCKET": bucket,
            "AWS_ACCESS_KEY_ID": self.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_access_key,
        }

    def client(self) -> S3Client:
        """boto3's own, as the peers use it."""
        return s3_client(self.endpoint_url, self.credentials)

    def objects(self, bucket: str) -> S3ObjectStore:
        """The bucket through production's own adapter and client."""
        # No service has this bus: nobody publishes through these settings.
        settings = PlatformSettings(
            kafka_bootstrap_servers="localhost:1",
            s3_endpoint_url=self.endpoint_url,
            s3_bucket=bucket,
            aws_access_key_id=self.credentials.access_key_id,
            aws_secret_access_key=SecretStr(self.credentials.secret_access_key),
        )
        made = bootstrap.object_store(settings)
        assert isinstance(made, S3ObjectStore)
        return made


@contextmanager
def seeded_object_store(home: Path, seed: Path, seconds: float) -> Iterator[Store]:
    """moto's server with what :mod:`seeded_store` wrote into ``seed``, once it serves: ``seconds`` at most."""
    port = free_ports(1)[0]
    argv = [sys.executable, "-m", seeded_store.__name__, "--port", str(port), "--seed", str(seed)]
    process = start_ready(
        Command("seeded-store", argv, home / "store.log", child_environment()),
        lambda: accepts_connections(port),
        seconds,
        tie_to_parent=True,
    )
    try:
        yield Store(f"http://127.0.0.1:{port}", Credentials(), process)
    finally:
        process.stop()


@contextmanager
def weed(home: Path) -> Iterator[Store]:
    """SeaweedFS: master, volumes, filer and S3 in one process, which answers many requests at once."""
    program = fetch_seaweedfs(LocalSettings().cache_dir)
    started = start_seaweedfs(program, home, child_environment(), tie_to_parent=True)
    try:
        yield Store(started.endpoint_url, started.credentials, started.process)
    finally:
        started.process.stop()


@dataclass(frozen=True)
class Delayed:
    """The way to a store on which each request waits."""

    endpoint_url: str

    async def requests(self) -> int:
        """How many it has passed on."""
        async with httpx.AsyncClient(trust_env=False) as client:
            return int((await client.get(f"{self.endpoint_url}/bench/requests")).text)


@contextmanager
def delayed(home: Path, store: Store, milliseconds: float, name: str) -> Iterator[Delayed]:
    """A proxy before ``store`` that takes so long over each request, and answers many side by side."""
    port, upstream = free_ports(1)[0], store.endpoint_url.rpartition(":")[2]
    argv = [sys.executable, "-m", delay_proxy.__name__, "--port", str(port), "--upstream-port", upstream]
    process = start_ready(
        Command(
            f"delay-{name}",
            [*argv, "--milliseconds", str(milliseconds)],
            home / f"delay-{name}.log",
            child_environment(),
        ),
        lambda: accepts_connections(port),
        PROXY_SECONDS,
        tie_to_parent=True,
    )
    try:
        yield Delayed(f"http://127.0.0.1:{port}")
    finally:
        process.stop()


@contextmanager
def kafka(home: Path) -> Iterator[KafkaCluster]:
    """One Apache Kafka broker."""
    with KafkaCluster(fetch_kafka_jars(LocalSettings().cache_dir), home / "kafka") as cluster:
        yield cluster


@dataclass(frozen=True)
class KeyFiles:
    """An installation's keys."""

    master: Path
    folder: Path

    @classmethod
    def made(cls, home: Path) -> KeyFiles:
        files = cls(home / "master.key", home)
        ensure_key(files.master)
        ensure_keys(files.folder)
        return files


def child_environment(**settings: str) -> dict[str, str]:
    """For a child process: ours is importable, and nothing points at a real account."""
    inherited = {name: value for name, value in inherited_environment().items() if name not in _ELSEWHERE}
    return {**inherited, "PYTHONPATH": str(PROJECT_ROOT), "AWS_DEFAULT_REGION": REGION, **settings}


def processor_seconds(process: ChildProcess) -> float:
    """User and system time that the process has used so far: fields 14 and 15 of proc(5)'s ``stat``."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_megabytes(process: ChildProcess) -> float:
    """What the process has in memory now: ``VmRSS`` of proc(5)'s ``status``."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


class RequestCount:
    """Counts what boto3 clients really send, repeats included: by method and precondition."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    def watch(self, client: S3Client) -> S3Client:
        client.meta.events.register("before-send.s3", self._count)
        return client

    def _count(self, request: Any, **_: object) -> None:
        conditions = [name for name in ("If-Match", "If-None-Match") if name in request.headers]
        self.sent[" ".join([request.method, *conditions])] += 1

    def taken(self) -> dict[str, int]:
        """What was sent since the last call."""
        sent, self.sent = self.sent, Counter()
        return dict(sorted(sent.items()))
