"""An installation with replicas that serve, for entries that measure across processes: Kafka, SeaweedFS, keys."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from deploy.local.kafka import KafkaCluster
from deploy.local.ports import free_ports
from deploy.local.processes import ChildProcess, Command, Probe, start
from deploy.local.services import is_ready
from producers.operations.topics import apply_topics
from producers.settings import OperatorSettings
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import ROOT_PUBLIC_FILE, SIGNS, TRUST_FILE, key_file
from tests.bench.stand import KeyFiles, Store, child_environment

START_SECONDS = 400.0
"""Three engines start side by side on two cores."""


@dataclass(frozen=True)
class Installation:
    """``memory``: a folder for adapters. ``engine``: settings of the engine, the same for everybody."""

    home: Path
    memory: Path
    kafka: KafkaCluster
    store: Store
    bucket: str
    keys: KeyFiles
    base_model: Path
    engine: dict[str, str]

    @classmethod
    def made(
        cls, home: Path, memory: Path, kafka: KafkaCluster, store: Store, base_model: Path, engine: dict[str, str]
    ) -> Installation:
        """With topics, a bucket and keys."""
        asyncio.run(apply_topics({"bootstrap_servers": kafka.bootstrap_servers}))
        return cls(home, memory, kafka, store, store.bucket("tenants"), KeyFiles.made(home), base_model, engine)

    def operator(self) -> OperatorSettings:
        """The settings of an operator's commands."""
        folder = self.keys.folder
        return OperatorSettings(
            kafka_bootstrap_servers=self.kafka.bootstrap_servers,
            s3_endpoint_url=self.store.endpoint_url,
            s3_bucket=self.bucket,
            aws_access_key_id=self.store.credentials.access_key_id,
            aws_secret_access_key=SecretStr(self.store.credentials.secret_access_key),
            master_key_file=self.keys.master,
            trust_file=folder / TRUST_FILE,
            trust_root_file=folder / ROOT_PUBLIC_FILE,
            token_key=str(key_file(folder, Purpose.TOKEN, "operators")),
            event_key=str(key_file(folder, Purpose.EVENT, "operators")),
        )

    def environment(self, name: str) -> dict[str, str]:
        """The settings of the replica of this name."""
        folder = self.keys.folder
        signing = {
            f"SANO_{purpose}_KEY".upper(): str(key_file(folder, purpose, "inference")) for purpose in SIGNS["inference"]
        }
        return child_environment(
            **self.engine,
            **signing,
            SANO_REPLICA_ID=name,
            SANO_BASE_MODEL=str(self.base_model),
            SANO_ADAPTER_DIR=str(self.memory),
            SANO_WORK_DIR=str(self.home / name),
            SANO_KAFKA_BOOTSTRAP_SERVERS=self.kafka.bootstrap_servers,
            SANO_MASTER_KEY_FILE=str(self.keys.master),
            SANO_TRUST_FILE=str(folder / TRUST_FILE),
            SANO_TRUST_ROOT_FILE=str(folder / ROOT_PUBLIC_FILE),
            **self.store.settings(self.bucket),
        )

    @contextmanager
    def replicas(self, names: Sequence[str]) -> Iterator[list[int]]:
        """The inference service, a process for each name; the ports of their APIs, once all are ready."""
        with ExitStack() as stack:
            ports = [free_ports(2) for _ in names]
            started = [self._replica(stack, name, *both) for name, both in zip(names, ports, strict=True)]
            for process, (_, health) in zip(started, ports, strict=True):
                process.wait_ready(_ready(health), START_SECONDS)
            yield [port for port, _ in ports]

    def _replica(self, stack: ExitStack, name: str, port: int, health: int) -> ChildProcess:
        own = {"SANO_INFERENCE_PORT": str(port), "SANO_HEALTH_PORT": str(health)}
        return self.started(stack, name, [sys.executable, "-m", "inference.app"], **own)

    def started(self, stack: ExitStack, name: str, argv: list[str], **more: str) -> ChildProcess:
        """A process with a replica's settings, which is stopped with ``stack``."""
        environment = {**self.environment(name), **more}
        log = self.home / f"{name}.log"
        process = start(Command(name, argv, log, environment, cwd=self.home), tie_to_parent=True)
        stack.callback(process.stop)
        return process


def _ready(port: int) -> Probe:
    return lambda: is_ready(port)
