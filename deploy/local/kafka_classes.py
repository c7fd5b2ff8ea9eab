"""Makes an archive of Kafka's classes, which a JVM maps into memory: a broker starts in three quarters of the time."""

from __future__ import annotations

import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from deploy.local.fetched import fetch_once
from deploy.local.kafka_config import BrokerAddress, server_properties

SECONDS = 120


def class_archive(jars: Path) -> Path:
    """The file for these jars. A JVM that finds none, or one that another version of Java has made, goes without."""
    return _folder(jars) / "classes.jsa"


def archive_classes(jars: Path) -> None:
    """Make it, unless it was made before: two seconds."""
    fetch_once(_folder(jars), lambda folder: _make(jars, folder))


def _folder(jars: Path) -> Path:
    return jars.with_name(f"{jars.name}-classes")


def _make(jars: Path, folder: Path) -> None:
    folder.mkdir()
    with tempfile.TemporaryDirectory(dir=folder) as home:
        properties, broker = Path(home) / "server.properties", BrokerAddress(1, 1, 2)
        properties.write_text(server_properties(broker, [broker], Path(home) / "data", {}))
        archive = f"-XX:ArchiveClassesAtExit={folder / class_archive(jars).name}"
        command = ["java", archive, "-cp", f"{jars}/*", *format_arguments(random_cluster_id(), properties)]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)


def random_cluster_id() -> str:
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def format_arguments(cluster_id: str, properties: Path) -> list[str]:
    """Builds the command that formats a broker's storage.

    The id is joined to its option: one random id in 64 begins with a hyphen and would be read as an option itself.
    """
    return ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", f"--config={properties}"]
