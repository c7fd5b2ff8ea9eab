"""Tenants, imports, runs and adapters: what the commands print, as a table and as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from producers.commands.requests import activate
from producers.operations import reproducing
from producers.queries import waiting
from schemas.evidence.reproduction import Difference, Reproduction
from schemas.objects.state import RunState
from schemas.objects.training import LeftOutExample
from tenancy.tokens import TokenVerifier
from tests.unit.cli.command import TENANT, Sano, error_line, shape
from tests.unit.operator_parts import Parts, publish_adapter


def approvals(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "approvals.jsonl"
    path.write_text("\n".join(lines))
    return str(path)


APPROVAL = json.dumps(
    {
        "example_id": "e1",
        "messages": [{"role": "user", "content": "a question"}, {"role": "assistant", "content": "an answer"}],
        "reviewer": "reviewer-1",
        "consent": "consent-1",
    }
)


def test_a_bad_line_of_an_import_is_named_and_not_quoted(sano: Sano, tmp_path: Path) -> None:
    path = approvals(tmp_path, APPROVAL, '{"messages": "the secret"}')
    line = error_line(sano("import", path, "--tenant", "t1"), 1)
    assert f"{path}:2: refused: messages must be a list of 2 to 64" in line
    assert "the secret" not in line


def test_a_tenant_is_created_listed_and_shown(sano: Sano, parts: Parts) -> None:
    created = shape(sano("tenant", "create", "t2", "--min-new-examples", "5", "--activation", "manual", "--json"))
    assert (created["tenant"], created["created"], created["policy"]["min_new_examples"]) == ("t2", True, 5)
    assert parts.types() == ["tenant.onboarded"]
    assert [row["tenant"] for row in shape(sano("tenant", "list", "--json"))] == ["t1", "t2"]
    shown = shape(sano("tenant", "show", "t2", "--json"))
    assert (shown["policy"]["activation"], shown["examples"], shown["status"]) == ("manual", 0, "active")
    assert (
        "t2 was onboarded already"
        in sano("tenant", "create", "t2", "--min-new-examples", "5", "--activation", "manual").stdout
    )
    random = sano("tenant", "create").stdout.split()[0]
    assert random.startswith("t-")


def test_a_token_is_the_tenants_own_and_is_printed_by_this_command_only(sano: Sano, parts: Parts) -> None:
    token = sano("tenant", "token", "t1", "--days", "1").stdout.strip()
    assert TokenVerifier(parts.keys.trust).tenant(token) == TENANT
    assert "no such tenant" in error_line(sano("tenant", "token", "t9"), 1)


def test_an_import_counts_what_was_new(sano: Sano, parts: Parts, tmp_path: Path) -> None:
    path = approvals(tmp_path, APPROVAL)
    counts = shape(sano("import", path, "--tenant", "t1", "--json"))
    assert (counts.pop("tenant"), counts.pop("examples"), counts.pop("new"), counts.pop("consents")) == ("t1", 1, 1, 1)
    assert counts == {"known": 0, "already_decided": 0, "redacted": 0}
    assert "1 examples: 0 new, 1 known" in sano("import", path, "--tenant", "t1").stdout
    assert "a question" not in sano("import", path, "--tenant", "t1").output


def test_reads_have_a_json_shape_and_a_table(sano: Sano, parts: Parts) -> None:
    first = asyncio.run(publish_adapter(parts, TENANT, 1))
    asyncio.run(activate(parts.tenancy, TENANT, first))
    [adapter] = shape(sano("adapters", "--tenant", "t1", "--json"))
    assert (adapter["digest"], adapter["active"], adapter["status"]) == (first, True, "ready")
    [run] = shape(sano("runs", "--tenant", "t1", "--json"))
    assert (run["run_id"], run["status"], run["adapter_digest"]) == ("run-1", "completed", first)
    found = shape(sano("lineage", first[:8], "--json"))
    assert (found["tenant"], found["signature_verified"], len(found["examples"])) == ("t1", True, 3)
    assert shape(sano("usage", "--tenant", "t1", "--json")) == []
    assert shape(sano("purges", "--json")) == []
    for command in (["adapters", "--tenant", "t1"], ["runs", "--tenant", "t1"]):
        assert first[:12] in sano(*command).stdout
    assert "reviewer-2" in sano("lineage", first).stdout


@pytest.mark.parametrize(
    ("code", "what"), [("too-few-examples", "lower --min-training-examples"), ("training-diverged", "under Training")]
)
def test_a_training_that_was_waited_for_and_rejected_says_what_to_do(
    sano: Sano, monkeypatch: pytest.MonkeyPatch, code: str, what: str
) -> None:
    async def rejected(*_: object, **__: object) -> RunState:
        return RunState(status="rejected", reason_code=code, requested_at=datetime(2026, 1, 1, tzinfo=UTC))

    monkeypatch.setattr(waiting, "run_ended", rejected)
    line = error_line(sano("train", "--tenant", "t1", "--wait"), 1)
    assert f"is rejected: {code}; " in line
    assert what in line


def test_what_a_run_left_out_is_counted_in_the_table_and_named_in_json(sano: Sano, parts: Parts) -> None:
    without = [LeftOutExample(example_id=f"e{number}", version=1, code="too-long") for number in (7, 8)]
    digest = asyncio.run(publish_adapter(parts, TENANT, left_out=tuple(without)))
    [run] = shape(sano("runs", "--tenant", "t1", "--json"))
    named = [{"example_id": name, "version": 1, "code": "too-long"} for name in ("e7", "e8")]
    assert run["left_out"] == named
    assert shape(sano("lineage", digest, "--json"))["left_out"] == named
    assert "2 too-long" in sano("runs", "--tenant", "t1").stdout
    assert "e7" in sano("lineage", digest).stdout


def test_a_tenant_may_have_its_own_limit_of_an_examples_length(sano: Sano) -> None:
    created = shape(sano("tenant", "create", "t2", "--max-length", "2048", "--json"))
    assert created["policy"]["hyperparameters"]["max_length"] == 2048
    facts = dict(line.split(":", 1) for line in sano("tenant", "show", "t2").stdout.splitlines())
    assert facts["policy.max_length"].strip() == "2048"


def test_training_and_activation_are_asked_for(sano: Sano, parts: Parts) -> None:
    digest = asyncio.run(publish_adapter(parts, TENANT))
    requested = shape(sano("train", "--tenant", "t1", "--json"))
    assert requested["status"] == "requested"
    assert requested["run_id"].startswith("run-")
    assert f"{digest} is active" in sano("activate", "--tenant", "t1", digest[:8]).stdout
    assert f"{digest} is active already; nothing changed" in sano("activate", "--tenant", "t1", digest).stdout
    assert f"{digest} is active already; nothing changed" in sano("rollback", "--tenant", "t1", digest).stdout
    assert "the base model is active\n" in sano("rollback", "--tenant", "t1").stdout
    [left] = shape(sano("adapters", "--tenant", "t1", "--json"))
    assert (left["active"], left["rolled_back"]) == (False, True)
    assert parts.types() == ["training.requested", "adapter.activated", "adapter.rolledback"]


def test_a_canary_is_begun_shown_promoted_and_ended(sano: Sano, parts: Parts) -> None:
    older, newer = (asyncio.run(publish_adapter(parts, TENANT, number)) for number in (1, 2))
    assert "no such canary" in error_line(sano("promote", "--tenant", "t1"), 1)
    sano("activate", "--tenant", "t1", older)
    began = sano("activate", "--tenant", "t1", newer[:8], "--canary", "10%").stdout
    assert f"{older} is active\n{newer} answers 10 in 100 conversations\n" in began
    shown = shape(sano("tenant", "show", "t1", "--json"))["canary"]
    assert (shown["adapter_digest"], shown["percent"], shown["activation"]) == (newer, 10, 2)
    said = sano("canary", "--tenant", "t1").stdout
    assert newer[:12] in said and "an operator decides; by the numbers: wait (too-few-answers)" in said
    compared = shape(sano("canary", "--tenant", "t1", "--json"))
    assert [(side["side"], side["adapter"]) for side in compared["sides"]] == [("canary", newer), ("active", older)]
    assert f"{older} is active\n" in sano("rollback", "--tenant", "t1").stdout
    assert shape(sano("tenant", "show", "t1", "--json"))["canary"] is None
    assert "there is no canary" in sano("canary", "--tenant", "t1").stdout
    sano("activate", "--tenant", "t1", newer, "--canary", "50")
    assert f"{newer} is active\n" in sano("promote", "--tenant", "t1", newer[:8]).stdout
    for share in ("0", "100%", "ten", "-5", "10.5%"):
        assert "from 1% to 99%" in error_line(sano("activate", "--tenant", "t1", older, "--canary", share), 2)


def test_without_a_digest_the_newest_adapter_that_no_rollback_left_is_activated(sano: Sano, parts: Parts) -> None:
    refused = sano("activate", "--tenant", "t1")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: refused: the tenant has no adapter that could be activated; `sano train`")
    older, newer = [asyncio.run(publish_adapter(parts, TENANT, seed)) for seed in (1, 2)]
    assert f"{newer} is active\n" in sano("activate", "--tenant", "t1").stdout
    assert f"{older} is active\n" in sano("rollback", "--tenant", "t1", older).stdout
    assert f"{older} is active already; nothing changed" in sano("activate", "--tenant", "t1").stdout


def second_training(digest: str, **other: Any) -> Reproduction:
    return Reproduction(
        tenant=TENANT,
        adapter_digest=digest,
        run_id="run-0",
        **{"is_same": True, "first_different_step": None, "differences": (), **other},
        weights_sha256="1" * 64,
        config_sha256="2" * 64,
        seconds=1.0,
    )


def test_a_second_training_that_gives_other_bytes_is_a_failure_and_shows_what_differs(
    sano: Sano, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = asyncio.run(publish_adapter(parts, TENANT))
    other = {"is_same": False, "first_different_step": 2}
    told = (Difference(what="torch", then="2.13.0", now="2.14.0"),)

    async def reproduced(_: object, tenant: str, whole: str, report: Callable[[int, int], None]) -> Reproduction:
        report(1, 3)
        assert (tenant, whole) == (TENANT, digest)
        return second_training(digest, **found)

    monkeypatch.setattr(reproducing, "reproduced", reproduced)
    found: dict[str, Any] = {}
    assert shape(sano("reproduce", digest[:8], "--json"))["is_same"] is True
    assert "is_same:" in sano("reproduce", digest).stdout
    found = {**other, "differences": told}
    result = sano("reproduce", digest)
    assert result.exit_code == 1
    assert "torch    2.13.0  2.14.0" in result.stdout
    assert "gave other bytes; libraries or processor are others" in result.stderr
    found = other
    assert "gave other bytes; docs/operations.md says what to look at" in sano("reproduce", digest).stderr


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('noise\n{"step": 1, "steps": 2}\n{"refused": "refused: no"}', "error: refused: no"),
        ("", "ended with status 0; it needs the libraries of training"),
    ],
)
def test_a_second_training_that_is_refused_or_ends_is_one_line(
    sano: Sano, parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, why: str
) -> None:
    digest = asyncio.run(publish_adapter(parts, TENANT))
    (tmp_path / "stand_in.py").write_text(f"import sys, json; json.load(sys.stdin); print({said!r})")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(reproducing, "MODULE", "stand_in")
    assert why in error_line(sano("reproduce", digest), 1)
