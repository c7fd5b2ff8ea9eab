"""Fetches Apache Kafka's jars once by Maven: ``python -m deploy.local.kafka_jars CACHE_DIR`` prints their folder."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from deploy.local.errors import KafkaDownloadFailed, LocalStackError, ToolMissing
from deploy.local.fetched import fetch_once, run_fetch
from deploy.local.java import require_java
from deploy.local.kafka_classes import archive_classes

POM = Path(__file__).with_name("kafka-pom.xml")
DOWNLOAD_SECONDS = 600


def kafka_jars_dir(cache_dir: Path) -> Path:
    """Where the jars of this version of the pom are, or will be once fetched."""
    return cache_dir / f"kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:16]}"


def fetch_kafka_jars(cache_dir: Path) -> Path:
    """The folder with the jars; runs Maven when the cache has none (about 45 MB, 10 s).

    Raises :class:`ToolMissing` without ``java`` or ``mvn``, :class:`JavaTooOld`, and :class:`KafkaDownloadFailed` when
    Maven fails.
    """
    require_java()  # before anything is fetched that could not run
    jars = fetch_once(kafka_jars_dir(cache_dir), _run_maven)
    archive_classes(jars)
    return jars


def _run_maven(target: Path) -> None:
    if shutil.which("mvn") is None:
        raise ToolMissing("mvn", "fetching Apache Kafka")
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    done = run_fetch([*command, f"-DoutputDirectory={target}"], DOWNLOAD_SECONDS, KafkaDownloadFailed)
    if done.returncode != 0 or not any(target.glob("kafka_*.jar")):
        errors = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")]
        raise KafkaDownloadFailed(errors[0].removeprefix("[ERROR]").strip() if errors else f"status {done.returncode}")


if __name__ == "__main__":
    try:
        print(fetch_kafka_jars(Path(sys.argv[1])))
    except LocalStackError as error:
        sys.exit(f"error: {error}")
