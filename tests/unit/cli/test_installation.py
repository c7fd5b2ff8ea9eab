"""What the command says of the installation it is used with, and what it loads to say it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from producers.operations import access_admin, topics
from producers.operations.access_admin import AccessReport, Found
from producers.operations.topics import TopicReport
from schemas.bus.access import Right
from tests.unit.cli.command import Sano


def test_the_doctor_says_what_is_wrong_and_what_to_do(sano: Sano) -> None:
    result = sano("doctor", "--json")
    assert result.exit_code == 1
    checks = {check["part"]: check for check in json.loads(result.stdout)}
    assert list(checks) == [
        "settings",
        "object store",
        "master key",
        "signing keys",
        "bus",
        "access control",
        "inference",
    ]
    assert [part for part, check in checks.items() if check["ok"]] == ["settings", "signing keys"]
    assert "SANO_KAFKA_BOOTSTRAP_SERVERS" in checks["bus"]["remedy"]


def test_topics_apply_says_what_rights_were_added_what_others_gave_and_when_there_is_no_wall(
    sano: Sano, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Right(principal="User:sano-purge", resource="group", name="purge.v1", operation="read")
    found = Found(principal="User:x", entry="write topic *", effect="may speak for every tenant on 16 topics of ours")
    reports = [
        AccessReport(has_authorizer=False, rights=9),
        AccessReport(has_authorizer=True, rights=9, added=(right,), surplus=(found,)),
        AccessReport(has_authorizer=True, rights=9, denials=(found,)),
    ]

    async def no_topics(*_: object, dry_run: bool) -> list[TopicReport]:
        return []

    async def next_report(*_: object, dry_run: bool) -> AccessReport:
        return reports.pop(0)

    monkeypatch.setattr(topics, "apply_topics", no_topics)
    monkeypatch.setattr(access_admin, "apply_access", next_report)
    assert "the brokers have no authorizer" in sano("topics", "apply").stdout
    planned = " ".join(sano("topics", "apply", "--dry-run").stdout.split())
    assert "9 rights in the contract, 1 would be added" in planned
    assert "User:sano-purge read group purge.v1" in planned
    assert "surplus, left as it is which User:x write topic * may speak for every tenant" in planned
    assert "denied, left as it is" in sano("topics", "apply").stdout


def test_status_of_a_folder_without_a_stack_says_how_to_start_one(sano: Sano) -> None:
    result = sano("status")
    assert (result.exit_code, result.stdout) == (1, "the local stack is not up; run `sano up`\n")
    assert json.loads(sano("status", "--json").stdout) == {"up": False, "processes": []}
    assert sano("down").stdout == "nothing was running\n"


def test_the_command_starts_without_the_parts_that_only_some_commands_need() -> None:
    heavy = ("boto3", "aiokafka", "pydantic", "httpx", "cryptography", "rich", "torch", "faststream")
    code = f"import sys, producers.cli.main; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"
