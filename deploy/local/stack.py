"""Starts and stops the local stack: bus, object store and services as local processes, described in one file."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from deploy.local.base_model import base_model_folder
from deploy.local.embedded import Credentials, create_bucket, start_bus, start_object_store
from deploy.local.errors import AlreadyUp, NotUp, StackBusy, UnknownService, UnreadableStackFile
from deploy.local.kafka import KafkaCluster, fetch_kafka_jars
from deploy.local.key_files import ensure_key
from deploy.local.ports import LOOPBACK, free_ports
from deploy.local.processes import ChildProcess, start
from deploy.local.services import (
    INFERENCE,
    REVIEW,
    REVIEW_SOURCE_KEY,
    SERVICES,
    Folders,
    Service,
    is_ready,
    member_environment,
    service_command,
    service_environment,
)
from deploy.local.settings import LocalSettings, inherited_environment, local_settings
from deploy.local.stack_file import RunningProcess, StackFile
from deploy.local.teardown import running_members, stop_all
from schemas.bus.publishers import OPERATORS
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import ROOT_FILE, ROOT_PUBLIC_FILE, TRUST_FILE, key_file


class Stage(StrEnum):
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"


Report = Callable[[str, Stage], None]
ApplyTopics = Callable[[str], None]
MakeKeys = Callable[[Path], None]


@dataclass(frozen=True)
class ProcessStatus:
    name: str
    pid: int
    alive: bool
    log: Path


class LocalStack:
    """One stack per folder; ``root/.sano`` gets everything it writes.

    ``apply_topics`` is called with the bootstrap servers before any service starts, and ``make_keys`` with the folder
    where the signing keys and their trust file are to lie, unless they do. ``report`` is called as each part starts and
    is ready. ``extra_env`` is added to every service's environment. With ``tie_to_parent`` the processes die with this
    one. Methods block; they are not for use from several threads at once.
    """

    def __init__(
        self,
        root: Path,
        *,
        apply_topics: ApplyTopics,
        make_keys: MakeKeys,
        settings: LocalSettings | None = None,
        services: Sequence[Service] = SERVICES,
        extra_env: Mapping[str, str] | None = None,
        tie_to_parent: bool = False,
        report: Report = lambda name, stage: None,
    ) -> None:
        self.folders = Folders(root.absolute() / ".sano")
        self._apply_topics = apply_topics
        self._make_keys = make_keys
        self._given_settings = settings
        self._services = {service.name: service for service in services}
        self._extra_env = dict(extra_env or {})
        self._tie_to_parent = tie_to_parent
        self._report = report
        self._children: dict[str, ChildProcess] = {}
        self._ports: dict[str, int] = {}

    def up(self, *, kafka: bool = False) -> StackFile:
        """Start everything and wait until it is ready; on failure or interruption nothing is left running.

        With ``kafka`` the bus is Apache Kafka. Raises :class:`AlreadyUp`, :class:`StackBusy`, and what the settings
        and the parts raise (:mod:`deploy.local.errors`).
        """
        with self._exclusive():
            before = StackFile.read(self.folders.stack_file)
            if running := self._running(before):
                raise AlreadyUp(running)
            self._clear()
            for folder in (self.folders.home, self.folders.logs, self.folders.data, self.folders.tmp):
                folder.mkdir(mode=0o700, exist_ok=True)
            try:
                stack = self._start_bus_and_store(kafka)
                stack.write(self.folders.stack_file)
                self._apply_topics(stack.kafka_bootstrap_servers)
                return self._start_services(stack)
            except BaseException:
                self._end()
                raise

    def down(self) -> list[str]:
        """Stop everything of this folder's stack and remove its data; the names of what ran, or its processes.

        Keys and logs stay in ``.sano``. Works from any process, also after one that was killed amid :meth:`up`, and
        where the stack file is damaged: every process of the stack is marked as this folder's. Raises
        :class:`StackBusy`, :class:`~deploy.local.errors.StackFileOutOfReach` and
        :class:`~deploy.local.errors.NotStopped`.
        """
        if not self.folders.home.is_dir():
            return []
        with self._exclusive():
            return self._end()

    def status(self) -> list[ProcessStatus]:
        """What stack.json lists, and whether each still runs. Empty when the stack is not up."""
        stack = StackFile.read(self.folders.stack_file)
        alive = {member.pid for member in running_members(self.folders)}
        return [ProcessStatus(p.name, p.pid, p.pid in alive, p.log) for p in (stack.processes if stack else [])]

    def connect(self) -> StackFile:
        """The stack that is up. Raises :class:`NotUp`."""
        stack = StackFile.read(self.folders.stack_file)
        if stack is None:
            raise NotUp(self.folders.stack_file)
        return stack

    def service(self, name: str) -> ChildProcess:
        """The process of a service that this object started. Raises :class:`UnknownService`."""
        if name not in self._services or name not in self._children:
            raise UnknownService(name, [known for known in self._services if known in self._children])
        return self._children[name]

    def restart_service(self, name: str) -> None:
        """SIGKILL the service if it still runs, start it again as it was, on its port, and wait until it is ready."""
        old = self.service(name)
        old.kill()
        self._children[name] = start(old.command, tie_to_parent=self._tie_to_parent)
        self._record(self.connect()).write(self.folders.stack_file)
        self._wait_ready(self._services[name])

    @property
    def _settings(self) -> LocalSettings:
        """Looked at by ``up`` only: a wrong one must not keep a stack from being taken down."""
        return self._given_settings or local_settings()

    def _start_bus_and_store(self, kafka: bool) -> StackFile:
        settings, keys = self._settings, self.folders.keys
        member = self._member_environment()
        self._report("base model", Stage.STARTING)
        base_model = base_model_folder(settings, member)
        self._report("base model", Stage.READY)
        bootstrap_servers = settings.kafka_bootstrap_servers or self._start_bus(kafka, member)
        endpoint_url, credentials = self._start_store(member)
        master = settings.master_key_file or keys / "master.key"
        ensure_key(master)
        if REVIEW.name in self._services:
            ensure_key(keys / REVIEW_SOURCE_KEY)
        self._make_keys(keys)
        api_port, page_port, spare, *ports = free_ports(3 + len(self._services))
        self._ports = dict(zip(self._services, ports, strict=True))
        return self._record(
            StackFile(
                kafka_bootstrap_servers=bootstrap_servers,
                s3_endpoint_url=endpoint_url,
                s3_bucket=settings.s3_bucket,
                aws_access_key_id=credentials.access_key_id if credentials else None,
                aws_secret_access_key=credentials.secret_access_key if credentials else None,
                inference_url=f"http://{LOOPBACK}:{api_port}",
                inference_health_url=f"http://{LOOPBACK}:{self._ports.get(INFERENCE.name, spare)}",
                review_url=f"http://{LOOPBACK}:{page_port}" if REVIEW.name in self._services else None,
                master_key_file=master.absolute(),
                trust_file=keys / TRUST_FILE,
                trust_root_file=keys / ROOT_PUBLIC_FILE,
                trust_root_key=str(keys / ROOT_FILE),
                token_key=str(key_file(keys, Purpose.TOKEN, OPERATORS)),
                event_key=str(key_file(keys, Purpose.EVENT, OPERATORS)),
                base_model=base_model,
                processes=[],
            )
        )

    def _start_bus(self, kafka: bool, member: Mapping[str, str]) -> str:
        name = "Apache Kafka" if kafka else "embedded bus"
        self._report(name, Stage.STARTING)
        if kafka:
            jars = fetch_kafka_jars(self._settings.cache_dir)
            cluster = KafkaCluster(jars, self.folders.data / "kafka", env=member, tie_to_parent=self._tie_to_parent)
            cluster.start()
            self._children |= {child.name: child for child in cluster.processes}
            bootstrap_servers = cluster.bootstrap_servers
        else:
            log = self.folders.log("bus")
            bus = start_bus(self.folders.data / "bus", log, member, tie_to_parent=self._tie_to_parent)
            self._children[bus.process.name] = bus.process
            bootstrap_servers = bus.bootstrap_servers
        self._report(name, Stage.READY)
        return bootstrap_servers

    def _start_store(self, member: Mapping[str, str]) -> tuple[str, Credentials | None]:
        """The endpoint, and credentials when the store is ours."""
        if self._settings.s3_endpoint_url is not None:
            return self._settings.s3_endpoint_url, None
        self._report("object store", Stage.STARTING)
        credentials = Credentials()
        store = start_object_store(self.folders.log("object-store"), member, tie_to_parent=self._tie_to_parent)
        self._children[store.process.name] = store.process
        create_bucket(store.endpoint_url, self._settings.s3_bucket, credentials)
        self._report("object store", Stage.READY)
        return store.endpoint_url, credentials

    def _start_services(self, stack: StackFile) -> StackFile:
        embedded_store = self._settings.s3_endpoint_url is None
        shared = service_environment(self._member_environment(), stack, embedded_store=embedded_store)
        for service in self._services.values():
            self._report(service.name, Stage.STARTING)
            command = service_command(service, self._ports[service.name], shared | self._extra_env, self.folders)
            self._children[service.name] = start(command, tie_to_parent=self._tie_to_parent)
        stack = self._record(stack)
        stack.write(self.folders.stack_file)
        for service in self._services.values():
            self._wait_ready(service)
        return stack

    def _wait_ready(self, service: Service) -> None:
        port = self._ports[service.name]
        self._children[service.name].wait_ready(lambda: is_ready(port), service.ready_seconds)
        self._report(service.name, Stage.READY)

    def _member_environment(self) -> dict[str, str]:
        return member_environment(inherited_environment(), self.folders)

    def _record(self, stack: StackFile) -> StackFile:
        processes = [
            RunningProcess(name=name, pid=child.pid, log=child.command.log) for name, child in self._children.items()
        ]
        return stack.model_copy(update={"processes": processes})

    def _end(self) -> list[str]:
        try:
            stack = StackFile.read(self.folders.stack_file)
        except UnreadableStackFile:
            stack = None
        names = self._running(stack)
        for name in names:
            self._report(name, Stage.STOPPING)
        stop_all(stack.processes if stack else [], self.folders)
        for child in self._children.values():
            child.kill()  # dead by now; this reaps it
        self._children.clear()
        self._clear()
        for name in names:
            self._report(name, Stage.STOPPED)
        return names

    def _running(self, stack: StackFile | None) -> list[str]:
        """The names of what runs of the stack; pids where the file does not tell them."""
        alive = sorted(member.pid for member in running_members(self.folders))
        named = [process.name for process in (stack.processes if stack else []) if process.pid in alive]
        return named or [f"process {pid}" for pid in alive]

    def _clear(self) -> None:
        self.folders.stack_file.unlink(missing_ok=True)
        for folder in (self.folders.data, self.folders.memory):
            if folder.exists():
                shutil.rmtree(folder)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One ``up`` or ``down`` at a time in a folder. The kernel drops the lock with the process."""
        self.folders.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folders.home / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackBusy from None
            yield
