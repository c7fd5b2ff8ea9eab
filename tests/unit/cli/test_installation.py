"""What the command says of the installation it is used with, and what it loads to say it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from contextlib import nullcontext
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from consumers.purge.handlers import on_tenant_churned
from producers.operations import access_admin, doctor, topics
from producers.operations.access_admin import AccessReport, Found
from producers.operations.topics import TopicReport
from schemas.bus.access import Right
from schemas.bus.events import CURATION, TENANTS
from schemas.bus.topics import Topic
from tenancy.storage.memory import MemoryObjectStore
from tests.fixtures.postgres import Postgres
from tests.unit.cli.command import UNUSED_PORT, Sano, shape
from tests.unit.operator_parts import Parts, purge_ports


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
    assert [part for part, check in checks.items() if check["ok"]] == ["settings"]
    assert "no key for curation events is valid" in checks["signing keys"]["detail"]
    assert "SANO_KAFKA_BOOTSTRAP_SERVERS" in checks["bus"]["remedy"]


def doctors_checks(sano: Sano, **settings: Any) -> dict[str, dict[str, Any]]:
    return {check["part"]: check for check in json.loads(sano("doctor", "--json", **settings).stdout)}


def test_the_doctor_looks_at_the_database_of_indexes_where_there_is_one(sano: Sano, postgres: Postgres) -> None:
    part = "database of indexes"

    def check(url: str) -> dict[str, Any]:
        return doctors_checks(sano, knowledge_database_url=SecretStr(url))[part]

    assert part not in doctors_checks(sano)
    assert re.fullmatch(r"PostgreSQL 1\d\.\d+ with pgvector 0\.\d+\.\d+", check(postgres.database())["detail"])
    assert "superuser runs CREATE EXTENSION vector" in check(postgres.url())["detail"]
    unreachable = check("postgresql://sano:hush@127.0.0.1:1/none")
    assert "did not answer" in unreachable["detail"]
    assert "docs/knowledge.md" in unreachable["remedy"]
    assert "hush" not in str(unreachable)


def test_the_doctor_names_each_guarantee_that_the_object_store_lacks(
    sano: Sano, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unconditional(MemoryObjectStore):
        async def put(self, key: str, body: bytes, **_: object) -> str:
            return await super().put(key, body)

    store = Unconditional()
    monkeypatch.setattr(doctor, "open_store", lambda _: nullcontext(store))
    checks = doctors_checks(sano)
    lacking = [part for part, check in checks.items() if part.startswith("object store: ") and not check["ok"]]
    names = ("create if absent", "compare and swap", "no swap of what is gone", "multipart upload")
    assert lacking == [f"object store: {name}" for name in names]
    assert "8 swaps of one object from one ETag at once (If-Match), 8 succeeded" in checks[lacking[1]]["detail"]
    assert "docs/object-stores.md" in checks[lacking[1]]["remedy"]
    assert store.objects == {}
    monkeypatch.setattr(doctor, "open_store", lambda _: nullcontext(MemoryObjectStore()))
    assert doctors_checks(sano)["object store: guarantees"]["ok"]


def test_the_doctor_says_for_how_long_topics_keep_events_and_refuses_one_that_keeps_them_longer(
    sano: Sano, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = [TopicReport(topic=CURATION, action="unchanged"), TopicReport(topic=TENANTS, action="unchanged")]
    asked = []

    async def found(_: object, topics: dict[str, Topic], **how: object) -> list[TopicReport]:
        asked.append((topics[CURATION].unlimited, how))
        return reports

    monkeypatch.setattr(doctor, "apply_topics", found)
    assert doctors_checks(sano)["bus"]["detail"].endswith("all are kept for 7 days")
    detail = doctors_checks(sano, topic_retention=f"{CURATION}=unlimited,{TENANTS}=90")["bus"]["detail"]
    assert detail.endswith(f"kept {CURATION} without end, {TENANTS} for 90 days, all others for 7 days")
    dry = {"dry_run": True, "shorten": False}
    assert asked == [(False, dry), (True, dry)]
    reports[1] = TopicReport(topic=TENANTS, action="unchanged", keeps_longer=True)
    check = doctors_checks(sano)["bus"]
    assert not check["ok"]
    assert f"{TENANTS} keep events for longer than SANO_TOPIC_RETENTION says" in check["detail"]


def test_topics_apply_shortens_no_retention_unless_it_is_told_to(sano: Sano, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def noted(*_: object, shorten: bool, **__: object) -> list[TopicReport]:
        asked.append(shorten)
        return []

    async def no_access(*_: object, **__: object) -> AccessReport:
        return AccessReport(has_authorizer=True, rights=9)

    monkeypatch.setattr(topics, "apply_topics", noted)
    monkeypatch.setattr(access_admin, "apply_access", no_access)
    sano("topics", "apply")
    sano("topics", "apply", "--shorten")
    assert asked == [False, True]


def test_topics_apply_says_what_rights_were_added_what_others_gave_and_when_there_is_no_wall(
    sano: Sano, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Right(principal="User:sano-purge", resource="group", name="purge.v1", operation="read")
    found = Found(principal="User:x", entry="write topic *")
    reports = [
        AccessReport(has_authorizer=False, rights=9),
        AccessReport(has_authorizer=True, rights=9, added=(right,), surplus=(found,)),
    ]

    async def no_topics(*_: object, **__: object) -> list[TopicReport]:
        return []

    async def next_report(*_: object, dry_run: bool) -> AccessReport:
        return reports.pop(0)

    monkeypatch.setattr(topics, "apply_topics", no_topics)
    monkeypatch.setattr(access_admin, "apply_access", next_report)
    assert "the brokers have no authorizer" in sano("topics", "apply").stdout
    planned = " ".join(sano("topics", "apply", "--dry-run").stdout.split())
    assert "9 rights in the contract, 1 would be added" in planned
    assert "User:sano-purge read group purge.v1" in planned
    assert "surplus, left as it is User:x write topic *" in planned


def test_the_doctor_says_which_tenant_is_to_be_purged_and_is_not(
    sano: Sano, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "open_store", lambda _: nullcontext(parts.objects))
    monkeypatch.setattr(doctor, "utc_now", lambda: parts.now)

    def purges() -> dict[str, object]:
        checks = json.loads(sano("doctor", "--json").stdout)
        return next(check for check in checks if check["part"] == "purges")

    assert purges()["ok"]
    assert sano("churn", "--tenant", "t1").exit_code == 0
    asyncio.run(on_tenant_churned(parts.publisher.events[-1], purge_ports(parts)))
    assert purges()["ok"], "it has only just begun"
    parts.now += timedelta(minutes=15)
    found = purges()
    assert not found["ok"]
    assert str(found["detail"]).endswith("still active, although a purge was asked for: t1")
    assert "`sano purges`" in str(found["remedy"])
    assert shape(sano("purges", "--json"))[0]["flags"] == ["not-fenced"]
    asyncio.run(purge_ports(parts).driver.reconcile())
    assert purges()["ok"]


class _Health(BaseHTTPRequestHandler):
    """A replica's health routes."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return None


def test_the_doctor_asks_the_port_of_the_health_routes_and_not_the_api(sano: Sano) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        result = sano("doctor", "--json", inference_health_url=url, inference_url=f"http://{UNUSED_PORT}")
    finally:
        server.shutdown()
        server.server_close()
    asked = next(check for check in json.loads(result.stdout) if check["part"] == "inference")
    assert (asked["ok"], asked["detail"]) == (True, f"{url} is ready")


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
