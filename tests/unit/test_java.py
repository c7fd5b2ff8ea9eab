"""A Java that cannot run Kafka is told apart from none, and before anything is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.errors import JavaTooOld, ToolMissing
from deploy.local.java import major_version
from deploy.local.kafka_jars import fetch_kafka_jars


@pytest.mark.parametrize(
    ("said", "version"),
    [('openjdk version "17.0.15" 2025-04-15', 17), ('java version "1.8.0_392"', 8), ("no Java at all", None)],
)
def test_the_version_of_java_is_read_from_what_it_says(said: str, version: int | None) -> None:
    assert major_version(said) == version


def test_a_java_that_is_too_old_for_kafka_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(JavaTooOld, match="needs Java 17 and `java` is 11"):
        fetch_kafka_jars(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_without_java_nothing_is_fetched_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="`java` is not on PATH"):
        fetch_kafka_jars(tmp_path / "cache")
