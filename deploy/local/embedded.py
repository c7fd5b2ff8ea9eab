"""Starts the embedded bus and object store: in memory, from wheels, with no JVM and no container."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from deploy.local.ports import LOOPBACK, accepts_connections, free_ports
from deploy.local.processes import ChildProcess, Command, start_ready

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

READY_SECONDS = 60.0
REGION = "us-east-1"


@dataclass(frozen=True)
class Credentials:
    """moto takes any; random ones keep the local stack from looking like an account that exists."""

    access_key_id: str = field(default_factory=lambda: f"local{secrets.token_hex(8)}")
    secret_access_key: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)


@dataclass(frozen=True)
class EmbeddedBus:
    bootstrap_servers: str
    process: ChildProcess


@dataclass(frozen=True)
class EmbeddedStore:
    endpoint_url: str
    process: ChildProcess


def start_bus(work_dir: Path, log: Path, env: Mapping[str, str], *, tie_to_parent: bool) -> EmbeddedBus:
    """The ``noida-db`` wheel's Kafka, behind :mod:`deploy.local.paced_bus`, as one process to stop."""
    port = free_ports(1)[0]
    work_dir.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "deploy.local.paced_bus", "--port", str(port), "--data-dir", str(work_dir)]
    process = start_ready(
        Command("bus", argv, log, env, cwd=work_dir),
        lambda: accepts_connections(port),
        READY_SECONDS,
        tie_to_parent=tie_to_parent,
    )
    return EmbeddedBus(f"{LOOPBACK}:{port}", process)


def start_object_store(log: Path, env: Mapping[str, str], *, tie_to_parent: bool) -> EmbeddedStore:
    """``deploy.local.object_store`` on a free port. Large bodies spill to unnamed files in ``env``'s TMPDIR."""
    port = free_ports(1)[0]
    process = start_ready(
        Command("object-store", [sys.executable, "-m", "deploy.local.object_store", "--port", str(port)], log, env),
        lambda: accepts_connections(port),
        READY_SECONDS,
        tie_to_parent=tie_to_parent,
    )
    return EmbeddedStore(f"http://{LOOPBACK}:{port}", process)


def s3_client(endpoint_url: str, credentials: Credentials, config: Config | None = None) -> S3Client:
    """A client of a store on this machine, by boto3's defaults where ``config`` does not say otherwise."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        config=config,
    )


def create_bucket(endpoint_url: str, bucket: str, credentials: Credentials) -> None:
    """A bucket that keeps every version, as production's must (DESIGN, section 5)."""
    s3 = s3_client(endpoint_url, credentials)
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
