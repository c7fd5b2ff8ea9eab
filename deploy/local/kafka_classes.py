"""Makes an archive of Kafka's classes, which a JVM maps into memory: a broker starts in three quarters of the time."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from deploy.local.fetched import fetch_once
from deploy.local.kafka_config import BrokerAddress, format_arguments, random_cluster_id, server_properties

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
