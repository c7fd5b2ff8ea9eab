"""Defines our services in the local stack: which modules run, and how each is told where everything is."""

from __future__ import annotations

import hashlib
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from deploy.local.embedded import REGION
from deploy.local.ports import LOOPBACK
from deploy.local.processes import Command
from deploy.local.stack_file import StackFile
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import SIGNS, key_file

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own in it, with a name that nobody else computes
PROJECT_ROOT = Path(__file__).parents[2]
# Executed with this in its environment, a process belongs to the stack of that folder; `sano down` ends it.
MEMBER_MARKER = "SANO_STACK_MEMBER"

# On one machine with two cores nobody waits a minute for a peer. What is set outside wins over these.
LOCAL_PROFILE = {
    "SANO_HANDLER_DEADLINE_SECONDS": "15",
    "SANO_LEASE_SECONDS": "15",
    "SANO_REPLICA_LEASE_SECONDS": "30",
    "SANO_KV_CACHE_GIB": "1.0",
    "SANO_MAX_LORA_RANK": "16",
    "SANO_S3_TIMEOUT_SECONDS": "2",
    "SANO_KAFKA_SESSION_TIMEOUT_MS": "10000",
}

# What would send a client of the embedded object store to somebody's real account.
_OTHER_AWS_SETTINGS = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION")

_PRIVATE_KEYS = ("SANO_TRUST_ROOT_KEY", *(f"SANO_{purpose}_KEY".upper() for purpose in Purpose))
"""An operator's shell may name some."""


@dataclass(frozen=True)
class Service:
    """``python -m module``; it answers ``GET /health/ready`` on its ``SANO_HEALTH_PORT``."""

    name: str
    module: str
    ready_seconds: float = 120.0


INFERENCE = Service("inference", "inference.app", ready_seconds=600.0)
REVIEW_SOURCE_KEY = "review-source.key"
REVIEW = Service("review", "producers.review_page.app")
"""Started where it is asked for: the rest does without."""
SERVICES = (
    Service("curation", "consumers.curation.app"),
    Service("training", "consumers.training.app"),
    Service("adapters", "consumers.adapters.app"),
    Service("export", "consumers.export.app"),
    Service("knowledge", "consumers.knowledge.app"),
    Service("purge", "consumers.purge.app"),
    Service("ledger", "consumers.ledger.app"),
    INFERENCE,
)


@dataclass(frozen=True)
class Folders:
    """Everything the stack writes, all under one folder ``home`` (``.sano``)."""

    home: Path

    @property
    def stack_file(self) -> Path:
        return self.home / "stack.json"

    @property
    def keys(self) -> Path:
        return self.home / "keys"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def data(self) -> Path:
        """Scratch space, temporary files and the brokers' segments; gone after ``sano down``."""
        return self.home / "data"

    @property
    def memory(self) -> Path:
        """Memory-backed, for the adapters that a replica serves; gone after ``sano down``."""
        if not SHARED_MEMORY.is_dir():
            return self.data / "adapters"
        return SHARED_MEMORY / f"sanolith-{hashlib.sha256(str(self.home).encode()).hexdigest()[:16]}"

    @property
    def tmp(self) -> Path:
        return self.data / "tmp"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


def member_environment(inherited: Mapping[str, str], folders: Folders) -> dict[str, str]:
    """For every process of the stack: ours is importable, temporary files stay in our folder, ``down`` finds it."""
    path = ":".join(part for part in (str(PROJECT_ROOT), inherited.get("PYTHONPATH", "")) if part)
    return {
        **inherited,
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(folders.tmp),
        MEMBER_MARKER: str(folders.home),
    }


def service_environment(member: Mapping[str, str], stack: StackFile, *, embedded_store: bool) -> dict[str, str]:
    """The settings that all services share, made from the stack. With an S3 of your own, AWS's are left alone. No
    private key is among them: see :func:`service_command`.
    """
    environment = {name: value for name, value in member.items() if name not in _PRIVATE_KEYS}
    if embedded_store and stack.aws_access_key_id is not None and stack.aws_secret_access_key is not None:
        for name in _OTHER_AWS_SETTINGS:
            environment.pop(name, None)
        environment["AWS_ACCESS_KEY_ID"] = stack.aws_access_key_id
        environment["AWS_SECRET_ACCESS_KEY"] = stack.aws_secret_access_key
        environment["AWS_DEFAULT_REGION"] = REGION
    host, port = _host_and_port(stack.inference_url)
    review = {}
    if stack.review_url is not None:
        review_host, review_port = _host_and_port(stack.review_url)
        review = {
            "SANO_REVIEW_URL": stack.review_url,
            "SANO_REVIEW_HOST": review_host,
            "SANO_REVIEW_PORT": review_port,
            "SANO_REVIEW_LINKS": "allowed",
        }
    return {
        **environment,
        "SANO_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "SANO_S3_ENDPOINT_URL": stack.s3_endpoint_url,
        "SANO_S3_BUCKET": stack.s3_bucket,
        "SANO_MASTER_KEY_FILE": str(stack.master_key_file),
        "SANO_TRUST_FILE": str(stack.trust_file),
        "SANO_TRUST_ROOT_FILE": str(stack.trust_root_file),
        "SANO_BASE_MODEL": stack.base_model,
        "SANO_INFERENCE_URL": stack.inference_url,
        "SANO_INFERENCE_HEALTH_URL": stack.inference_health_url,
        "SANO_INFERENCE_HOST": host,
        "SANO_INFERENCE_PORT": port,
        **review,
    }


def _host_and_port(url: str) -> tuple[str, str]:
    host, _, port = url.rpartition("/")[2].rpartition(":")
    return host, port


def service_command(service: Service, port: int, shared: Mapping[str, str], folders: Folders) -> Command:
    """How the service is started: with the private keys that it signs with, and no others."""
    work = folders.data / service.name
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    own = {"SANO_HEALTH_PORT": str(port), "SANO_WORK_DIR": str(work), "SANO_ADAPTER_DIR": str(folders.memory)}
    keys = {
        f"SANO_{purpose}_KEY".upper(): str(key_file(folders.keys, purpose, service.name))
        for purpose in SIGNS.get(service.name, ())
    }
    if service.name == REVIEW.name:
        keys["SANO_SOURCE_KEY_FILE"] = str(folders.keys / REVIEW_SOURCE_KEY)
    env = {**LOCAL_PROFILE, **shared, **own, **keys}
    return Command(service.name, [sys.executable, "-m", service.module], folders.log(service.name), env, cwd=work)


def is_ready(port: int) -> bool:
    """Whether ``GET /health/ready`` on this port answers 200 within two seconds."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
    try:
        with opener.open(f"http://{LOOPBACK}:{port}/health/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
