"""Runs Apache Kafka (KRaft) on this machine from Maven's jars: one broker, or three that survive the loss of one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from deploy.local.errors import ProcessExited
from deploy.local.java import require_java
from deploy.local.kafka_classes import class_archive
from deploy.local.kafka_config import BrokerAddress, format_arguments, random_cluster_id, server_properties
from deploy.local.kafka_jars import fetch_kafka_jars, kafka_jars_dir
from deploy.local.ports import LOOPBACK, accepts_connections, free_ports
from deploy.local.processes import ChildProcess, Command, start
from deploy.local.settings import inherited_environment

__all__ = ["KafkaCluster", "fetch_kafka_jars", "kafka_jars_dir"]

LOG_CONFIG = Path(__file__).with_name("kafka-log4j2.properties")
START_SECONDS = 120.0
STOP_SECONDS = 15.0
FORMAT_SECONDS = 60.0


class KafkaCluster:
    """``brokers`` combined brokers and controllers; everything they write is under ``work_dir``.

    Ports stay the same over restarts. ``config`` overrides any line of every broker's ``server.properties``;
    ``env`` is the environment of the JVMs. Clients need nothing to connect, and may do everything.
    Methods block; call them through ``asyncio.to_thread`` inside a loop.
    """

    def __init__(
        self,
        jars_dir: Path,
        work_dir: Path,
        brokers: int = 1,
        *,
        config: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        tie_to_parent: bool = True,
    ) -> None:
        ports = free_ports(2 * brokers)
        self._addresses = [BrokerAddress(i + 1, ports[2 * i], ports[2 * i + 1]) for i in range(brokers)]
        self._jars_dir = jars_dir
        self._work_dir = work_dir.absolute()
        self._config = dict(config or {})
        self._env = dict(inherited_environment() if env is None else env)
        self._tie_to_parent = tie_to_parent
        self._cluster_id = random_cluster_id()
        self._children: dict[int, ChildProcess] = {}

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"{LOOPBACK}:{address.client_port}" for address in self._addresses)

    @property
    def log_dirs(self) -> list[Path]:
        """Per broker, the folder with its segment files: ``<log_dir>/<topic>-<partition>/*.log``."""
        return [self._home(index) / "data" for index in range(len(self._addresses))]

    def properties(self, broker: BrokerAddress) -> dict[str, str]:
        """Lines of a broker's ``server.properties`` over those that every local broker has."""
        return self._config

    def format_arguments(self) -> list[str]:
        """Arguments of ``kafka-storage format`` beside those that every local broker has."""
        return []

    def client_settings(self) -> dict[str, Any]:
        """Arguments under which an aiokafka client may ask for the brokers."""
        return {}

    @property
    def processes(self) -> list[ChildProcess]:
        return list(self._children.values())

    def start(self, timeout_s: float = START_SECONDS) -> None:
        """Format the storage of new brokers, start all, and wait until each is in the cluster's metadata.

        Raises :class:`ToolMissing`, :class:`JavaTooOld`, :class:`ProcessExited` or :class:`NotReady`; nothing runs
        then.
        """
        require_java()
        indices = range(len(self._addresses))
        try:
            self._format([index for index in indices if not (self._home(index) / "data" / "meta.properties").exists()])
            for index in indices:
                self._launch(index)
            self._wait_ready(timeout_s)
        except BaseException:
            self._kill_all()
            raise

    def stop(self) -> None:
        """SIGTERM to all at once, then SIGKILL: the last of a quorum cannot shut down in good order."""
        for child in self._children.values():
            child.terminate()
        for child in self._children.values():
            child.stop(STOP_SECONDS)
        self._children.clear()

    def kill_broker(self, index: int) -> None:
        """SIGKILL for broker ``index`` (from 0). Its data stays on disk."""
        self._children.pop(index).kill()

    def stop_broker(self, index: int) -> None:
        self._children.pop(index).stop(STOP_SECONDS)

    def start_broker(self, index: int, timeout_s: float = START_SECONDS) -> None:
        """Start a broker that was killed or stopped, on its old data and port."""
        self._launch(index)
        self._wait_ready(timeout_s)

    def restart_broker(self, index: int, timeout_s: float = START_SECONDS) -> None:
        """Stop broker ``index`` in good order and start it again."""
        self.stop_broker(index)
        self.start_broker(index, timeout_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _home(self, index: int) -> Path:
        return self._work_dir / f"broker-{self._addresses[index].node_id}"

    def _format(self, indices: list[int]) -> None:
        """``kafka-storage format`` for each, all at once: a JVM start is most of it."""
        children = []
        for index in indices:
            home = self._home(index)
            (home / "tmp").mkdir(parents=True, exist_ok=True)
            address = self._addresses[index]
            text = server_properties(address, self._addresses, home / "data", self.properties(address))
            (home / "server.properties").write_text(text)
            args = format_arguments(self._cluster_id, home / "server.properties")
            children.append(self._java(index, f"kafka-format-{index}", [*args, *self.format_arguments()]))
        try:
            for child in children:
                if (code := child.wait_exit(FORMAT_SECONDS)) != 0:
                    raise ProcessExited(child.name, code, child.command.log)
        finally:
            for child in children:
                child.kill()

    def _launch(self, index: int) -> None:
        if index in self._children:
            raise ValueError(f"broker {index} runs already")
        args = ["kafka.Kafka", str(self._home(index) / "server.properties")]
        self._children[index] = self._java(index, f"kafka-{index}", args)

    def _java(self, index: int, name: str, args: list[str]) -> ChildProcess:
        home = self._home(index)
        options = [
            "-Xmx384m",
            "-XX:+UseSerialGC",  # few cores: parallel collectors only add threads
            "-XX:TieredStopAtLevel=1",  # halves the start-up; a local broker is not what anyone measures
            "-XX:-UsePerfData",  # no /tmp/hsperfdata_*
            f"-XX:SharedArchiveFile={class_archive(self._jars_dir)}",
            f"-XX:ErrorFile={home / 'jvm-crash.log'}",
            f"-Djava.io.tmpdir={home / 'tmp'}",
            f"-Dlog4j2.configurationFile={LOG_CONFIG}",
        ]
        argv = ["java", *options, "-cp", f"{self._jars_dir}/*", *args]
        return start(Command(name, argv, home / "broker.log", self._env), tie_to_parent=self._tie_to_parent)

    def _wait_ready(self, timeout_s: float) -> None:
        """Every running broker accepts connections, and the metadata lists as many brokers as run."""
        for index, child in self._children.items():
            port = self._addresses[index].client_port
            child.wait_ready(lambda port=port: accepts_connections(port), timeout_s)  # type: ignore[misc]
        expected = len(self._children)
        first = next(iter(self._children))
        address = f"{LOOPBACK}:{self._addresses[first].client_port}"
        client = self.client_settings()
        self._children[first].wait_ready(lambda: _brokers_seen_from(address, client) >= expected, timeout_s)

    def _kill_all(self) -> None:
        for child in self._children.values():
            child.kill()
        self._children.clear()


def _brokers_seen_from(address: str, settings: Mapping[str, Any]) -> int:
    """How many brokers the metadata of the one at ``address`` lists. In a thread: the caller may be in a loop."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, _count_brokers(address, settings)).result()


async def _count_brokers(address: str, settings: Mapping[str, Any]) -> int:
    client = AIOKafkaClient(bootstrap_servers=address, request_timeout_ms=5_000, **settings)
    try:
        await client.bootstrap()
        return len(client.cluster.brokers())
    except KafkaError:
        return 0
    finally:
        await client.close()
