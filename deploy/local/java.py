"""Checks whether this machine can run Apache Kafka: its Java, by version."""

from __future__ import annotations

import re
import shutil
import subprocess

from deploy.local.errors import JavaTooOld, ToolMissing

OLDEST = 17  # brokers of Kafka 4 are built for it


def require_java() -> None:
    """Raises :class:`ToolMissing` or :class:`JavaTooOld`."""
    java = shutil.which("java")
    if java is None:
        raise ToolMissing("java", "Apache Kafka")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    version = major_version(said)
    if version is not None and version < OLDEST:
        raise JavaTooOld(version, OLDEST)


def major_version(said: str) -> int | None:
    """Of what ``java -version`` says: 17 of ``"17.0.15"``, 8 of ``"1.8.0_392"``; None when it says none."""
    match = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(match[1]) if match else None
