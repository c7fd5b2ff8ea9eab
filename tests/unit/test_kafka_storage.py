"""The command that formats a broker's storage takes every cluster id that can be drawn."""

from __future__ import annotations

from pathlib import Path

from deploy.local.kafka_config import format_arguments


def test_a_cluster_id_that_begins_with_a_hyphen_is_not_taken_for_an_option() -> None:
    args = format_arguments("-1fYbKkMTzOoHKSFWNZ5Ag", Path("/data/-x/server.properties"))
    assert args[:2] == ["kafka.tools.StorageTool", "format"]
    assert args[2:] == ["--cluster-id=-1fYbKkMTzOoHKSFWNZ5Ag", "--config=/data/-x/server.properties"]
