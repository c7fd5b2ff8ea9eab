"""The ``sano`` command: what it prints, what it refuses in one line, and with which exit status."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner, Result

from consumers.adapters.withdrawals import WithdrawalDriver
from consumers.curation.handlers import on_example_rejected, on_example_withdrawn
from producers.cli.errors import in_one_line
from producers.cli.main import app
from producers.cli.platform import Platform
from producers.commands import activate
from producers.onboarding import onboard
from producers.replay.log import MemoryLog
from producers.settings import OperatorSettings
from schemas.envelope import Event
from schemas.events import CURATION, ConsentGranted, ExampleRejected, ExampleWithdrawn
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RawMessage
from tenancy.errors import BusUnavailable
from tenancy.master_keys import KeyFileMasterKey
from tenancy.replicas import Replicas
from tenancy.tenant_id import TenantId
from tenancy.tokens import TokenVerifier
from tests.unit.operator_parts import (
    NOW,
    Parts,
    certificate,
    publish_adapter,
    purge_ports,
    purge_to_the_end,
    signed_certificate,
)

TENANT = TenantId("t1")
UNUSED_PORT = "127.0.0.1:1"

Sano = Callable[..., Result]


@pytest.fixture
def parts() -> Parts:
    made = Parts()
    asyncio.run(onboard(made.tenancy, TENANT))
    made.publisher.events.clear()
    return made


@pytest.fixture
def settings(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OperatorSettings:
    monkeypatch.chdir(tmp_path)
    private, public = tmp_path / "signing.pem", tmp_path / "signing.pub.pem"
    key = parts.signer.private_key
    pem = serialization.Encoding.PEM
    private.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return OperatorSettings(
        kafka_bootstrap_servers=UNUSED_PORT,
        s3_bucket="bucket",
        s3_endpoint_url=f"http://{UNUSED_PORT}",
        signing_key_file=private,
        verify_key_file=public,
    )


@pytest.fixture
def sano(parts: Parts, settings: OperatorSettings) -> Sano:
    """Run the command on the tenancy in memory."""

    @asynccontextmanager
    async def commanding(_: OperatorSettings) -> AsyncIterator[Tenancy]:
        yield parts.tenancy

    def run(*arguments: str, **changes: Any) -> Result:
        here = Platform(lambda: settings.model_copy(update=changes), lambda _: parts.tenancy, commanding)
        return CliRunner().invoke(app, arguments, obj=here)

    return run


def shape(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def error_line(result: Result, status: int) -> str:
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


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


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["tenant"],
        ["runs"],
        ["runs", "--tenant", "UPPER_CASE"],
        ["runs", "--nonsense", "--tenant", "t1"],
        ["import", "--tenant", "t1"],
        ["activate", "--tenant", "t1", "not-a-digest"],
        ["chat", "--tenant", "t1", "--model", "gpt", "question"],
        ["chat", "--tenant", "t1", "--max-tokens", "0", "question"],
        ["tenant", "token", "t1", "--days", "366"],
        ["tenant", "create", "t2", "--activation", "sometimes"],
        ["export", "--tenant", "t1"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_status_2(sano: Sano, arguments: list[str]) -> None:
    assert "see --help" in error_line(sano(*arguments), 2)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["tenant", "show", "t9"], "no such tenant is onboarded; `sano tenant list` shows the tenants"),
        (["train", "--tenant", "t9"], "no such tenant is onboarded; `sano tenant list` shows the tenants"),
        (["rollback", "--tenant", "t1"], "no active adapter to roll back from; `sano adapters --tenant T` shows"),
        (["lineage", "0123456789"], "no adapter of any tenant has a digest that begins so"),
        (["import", "missing.jsonl", "--tenant", "t1"], "missing.jsonl cannot be read (No such file or directory)"),
        (["export", "--tenant", "t1", "--to", "out"], "the tenant has no active adapter to export"),
        (["verify", "missing.json", "--key", "missing.pem"], "missing.pem is no PEM public key"),
        (["chat", "--tenant", "t1", "question"], "no inference URL is known; set SANO_INFERENCE_URL"),
        (["train", "--tenant", "t1", "--wait", "--timeout", "1"], "did not happen within 1 s; it goes on without us"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do_and_exit_status_1(
    sano: Sano, arguments: list[str], line: str
) -> None:
    assert line in error_line(sano(*arguments), 1)


def test_a_bad_line_of_an_import_is_named_and_not_quoted(sano: Sano, tmp_path: Path) -> None:
    path = approvals(tmp_path, APPROVAL, '{"messages": "the secret"}')
    line = error_line(sano("import", path, "--tenant", "t1"), 1)
    assert f"{path}:2: refused: messages:" in line
    assert "the secret" not in line


def test_an_unexpected_error_says_where_and_quotes_nothing() -> None:
    try:
        raise ValueError("the patient's question")
    except ValueError as error:
        line = in_one_line(error)
    assert line.startswith("unexpected ValueError at ")
    assert "patient" not in line
    assert "`sano doctor`" in in_one_line(BusUnavailable("the bus is out of reach"))


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
    assert TokenVerifier(parts.signer.verifier).tenant(token) == TENANT
    assert "no such tenant" in error_line(sano("tenant", "token", "t9"), 1)


def test_an_import_counts_what_was_new(sano: Sano, parts: Parts, tmp_path: Path) -> None:
    path = approvals(tmp_path, APPROVAL)
    counts = shape(sano("import", path, "--tenant", "t1", "--json"))
    assert counts == {"tenant": "t1", "examples": 1, "new": 1, "known": 0, "settled": 0, "consents": 1}
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


def test_training_and_activation_are_asked_for(sano: Sano, parts: Parts) -> None:
    digest = asyncio.run(publish_adapter(parts, TENANT))
    requested = shape(sano("train", "--tenant", "t1", "--json"))
    assert requested["status"] == "requested"
    assert requested["run_id"].startswith("run-")
    assert f"{digest} is active" in sano("activate", "--tenant", "t1", digest[:8]).stdout
    assert "the base model is active" in sano("rollback", "--tenant", "t1").stdout
    assert parts.types() == ["training.requested", "adapter.activated", "adapter.rolledback"]


def test_a_churn_ends_with_a_certificate_that_verifies(sano: Sano, parts: Parts, tmp_path: Path) -> None:
    assert shape(sano("churn", "--tenant", "t1", "--json")) == {"tenant": "t1", "step": "requested"}
    asyncio.run(purge_to_the_end(parts))
    done = shape(sano("churn", "--tenant", "t1", "--certificate", "c.json", "--json"))
    assert (done["step"], done["tenant"], done["requested_by"]) == ("certified", "t1", "operator")
    [view] = shape(sano("purges", "--certificates", "all", "--json"))
    saved = tmp_path / "all" / f"{view['purge_id']}.certificate.json"
    assert saved.read_bytes() == (tmp_path / "c.json").read_bytes()
    verdict = shape(sano("verify", "c.json", "--key", "signing.pub.pem", "--json"))
    assert set(verdict) == {"kind", "facts", "proves", "does_not_prove"}
    changed = bytearray(saved.read_bytes())
    changed[len(changed) // 2] ^= 1
    saved.write_bytes(changed)
    error_line(sano("verify", str(saved), "--key", "signing.pub.pem"), 1)
    assert "purged or being purged" in error_line(sano("train", "--tenant", "t1"), 1)


def test_a_withdrawal_is_listed_with_a_receipt_that_verifies(sano: Sano, parts: Parts, tmp_path: Path) -> None:
    async def withdraw() -> str:
        rejected = ExampleRejected(example_id="e1", version=1, reviewer_id="rev-1", reason_code="unclear")
        left = ExampleWithdrawn(example_id="e1", reason_code="patient-request")
        decided, gone = (Event(subject=TENANT, data=data, time=parts.now, source="/test") for data in (rejected, left))
        await on_example_rejected(decided, parts.tenancy)
        await on_example_withdrawn(gone, parts.tenancy)
        return gone.id

    withdrawal = asyncio.run(withdraw())
    [waiting] = shape(sano("withdrawals", "--tenant", TENANT, "--json"))
    assert (waiting["withdrawal_id"], waiting["of"], waiting["step"]) == (withdrawal, "example e1", "open")
    replicas = Replicas(parts.objects, parts.tenancy.clock, 300.0)
    asyncio.run(WithdrawalDriver(parts.tenancy, parts.signer, replicas, 0.0).look())
    listed = sano("withdrawals", "--tenant", TENANT, "--receipts", str(tmp_path / "receipts"))
    assert listed.exit_code == 0 and "not-affected" in listed.stdout
    receipt = tmp_path / "receipts" / f"{withdrawal}.receipt.json"
    key = ("--key", str(tmp_path / "signing.pub.pem"))
    assert "receipt of a withdrawal" in sano("verify", str(receipt), *key).stdout
    receipt.write_bytes(receipt.read_bytes().replace(b"A", b"B", 1))
    assert sano("verify", str(receipt), *key).exit_code == 1


def test_a_hold_is_placed_shown_and_released_and_comes_too_late_in_the_end(sano: Sano, parts: Parts) -> None:
    placed = shape(sano("hold", "place", "--tenant", "t1", "--reason", "litigation", "--id", "h1", "--json"))
    assert (placed["hold_id"], placed["reason_code"], placed["placed_by"]) == ("h1", "litigation", "operator")
    assert shape(sano("tenant", "show", "t1", "--json"))["holds"][0]["released_at"] is None
    sano("purge", "--tenant", "t1")
    asyncio.run(purge_to_the_end(parts))
    [view] = shape(sano("purges", "--json"))
    assert (view["step"], view["flags"], view["open_holds"]) == ("fenced", ["blocked-by-hold"], ["h1"])
    assert "blocked-by-hold" in sano("purges").stdout
    assert "no hold of this id" in error_line(sano("hold", "release", "h2", "--tenant", "t1"), 1)
    assert "h1 is released" in sano("hold", "release", "h1", "--tenant", "t1").stdout
    asyncio.run(purge_ports(parts).driver.look())
    [view] = shape(sano("purges", "--json"))
    assert (view["step"], view["flags"], view["waits_for"]) == ("certified", [], [])
    assert "was decided already" in error_line(sano("hold", "place", "--tenant", "t1", "--reason", "audit"), 1)


@pytest.mark.parametrize("reason", ["Mrs Example", "a_b", ""])
def test_a_hold_takes_a_code_and_no_text(sano: Sano, reason: str) -> None:
    done = sano("hold", "place", "--tenant", "t1", "--reason", reason)
    assert done.exit_code == 2
    assert "Mrs Example" not in done.stdout


def test_a_right_of_export_must_fit_into_the_deletion_sla(sano: Sano) -> None:
    options = ("--right-of-export", "--export-wait-days", "9", "--deletion-sla-days")
    assert sano("tenant", "create", "t8", *options, "9").exit_code == 2
    sano("tenant", "create", "t8", *options, "10")
    policy = shape(sano("tenant", "show", "t8", "--json"))["policy"]
    assert (policy["right_of_export"], policy["export_wait_days"], policy["deletion_sla_days"]) == (True, 9, 10)


def test_churn_and_purge_take_the_same_options(sano: Sano) -> None:
    helps = [sano(name, "--help").stdout for name in ("churn", "purge")]
    options = [sorted(set(re.findall(r"--[a-z]+", text))) for text in helps]
    assert options[0] == options[1] == ["--certificate", "--help", "--json", "--tenant", "--timeout", "--wait"]
    assert "The contract ended" in helps[0]
    assert "whatever its contract" in helps[1]


def test_verifying_prints_what_is_proved_and_what_is_not(
    sano: Sano, parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.json").write_text(json.dumps(signed_certificate(parts.signer, certificate())))
    assert "no public key is known" in error_line(sano("verify", "c.json"), 1)
    monkeypatch.setenv("SANO_VERIFY_KEY_FILE", "signing.pub.pem")
    text = sano("verify", "c.json").stdout
    assert text.index("the signature is good") < text.index("It proves:") < text.index("It does not prove:")


class _Inference(BaseHTTPRequestHandler):
    """Answers as the serving API does, with the caller's model and tenant in the text."""

    verifier: TokenVerifier

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tenant = self.verifier.tenant(self.headers["Authorization"].removeprefix("Bearer "))
        if body["model"] == "base":
            return self._send(404, {"error": {"message": "no such\nmodel"}}, "base")
        text = f"{tenant} {body['model'][:6]} {body['max_tokens']} {body['temperature']}"
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        return self._send(200, {"choices": [{"message": {"content": text}}], "usage": usage}, "d" * 64)

    def _send(self, status: int, body: dict[str, Any], adapter: str) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("X-Sano-Adapter", adapter)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def inference_url(parts: Parts) -> Iterator[str]:
    handler = type("Handler", (_Inference,), {"verifier": TokenVerifier(parts.signer.verifier)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_chat_asks_as_the_tenant_and_prints_only_the_answer(sano: Sano, parts: Parts, inference_url: str) -> None:
    result = sano("chat", "--tenant", "t1", "--max-tokens", "9", "a question", inference_url=inference_url)
    assert (result.exit_code, result.stdout) == (0, "t1 active 9 0\n")
    assert f"answered by {'d' * 64}" in result.stderr
    digest = asyncio.run(publish_adapter(parts, TENANT))
    answer = shape(sano("chat", "--tenant", "t1", "--model", digest[:8], "q", "--json", inference_url=inference_url))
    assert answer == {
        "text": f"t1 {digest[:6]} 128 0",
        "adapter": "d" * 64,
        "prompt_tokens": 3,
        "completion_tokens": 4,
    }


def test_what_inference_refuses_is_said_in_one_line(sano: Sano, inference_url: str) -> None:
    refused = sano("chat", "--tenant", "t1", "--model", "base", "a question", inference_url=inference_url)
    line = error_line(refused, 1)
    assert "inference answered 404: no such model" in line
    assert "a question" not in line
    unreachable = sano("chat", "--tenant", "t1", "q", inference_url=f"http://{UNUSED_PORT}")
    assert "did not answer (ConnectError); try again" in error_line(unreachable, 1)


def test_the_doctor_says_what_is_wrong_and_what_to_do(sano: Sano) -> None:
    result = sano("doctor", "--json")
    assert result.exit_code == 1
    checks = {check["part"]: check for check in json.loads(result.stdout)}
    assert list(checks) == ["settings", "object store", "master key", "signing keys", "bus", "inference"]
    assert [part for part, check in checks.items() if check["ok"]] == ["settings", "signing keys"]
    assert "SANO_KAFKA_BOOTSTRAP_SERVERS" in checks["bus"]["remedy"]


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


# --- replay and dead letters


@pytest.fixture
def log(parts: Parts) -> MemoryLog:
    """The bus that the commands of replays read and send to, with one consent on it."""
    held = MemoryLog()
    made = Event(TENANT, ConsentGranted(consent_id="c-1", version=1), NOW, "/ehr")
    asyncio.run(held.publish(made))
    return held


@pytest.fixture
def replaying(parts: Parts, settings: OperatorSettings, log: MemoryLog) -> Sano:
    """Run the command where consumers have handled everything and tell no outcomes."""
    tenancy = assemble(parts.objects, KeyFileMasterKey(b"m" * 32), log, "/sanolith/test", lambda: parts.now)

    @asynccontextmanager
    async def commanding(_: OperatorSettings) -> AsyncIterator[Tenancy]:
        yield tenancy

    @asynccontextmanager
    async def reading_log(_: OperatorSettings) -> AsyncIterator[MemoryLog]:
        yield log

    def run(*arguments: str) -> Result:
        here = Platform(lambda: settings, lambda _: tenancy, commanding, reading_log)
        return CliRunner().invoke(app, arguments, obj=here)

    return run


def test_a_replay_is_planned_looked_at_run_and_reported(replaying: Sano, log: MemoryLog, tmp_path: Path) -> None:
    text = replaying("replay", "plan", "--tenant", "t1", "--type", "consent.granted", "--out", "p.json").stdout
    assert "nothing is sent; to go on: sano replay run p.json " in text
    sha256 = json.loads((tmp_path / "p.json").read_text())["sha256"]
    assert shape(replaying("replay", "run", "p.json", sha256, "--json"))["messages"] == 1
    assert "nothing is sent; --execute sends" in replaying("replay", "run", "p.json", sha256[:8]).stdout
    assert shape(replaying("replay", "report", "p.json", "--json"))["status"] == "not run"
    assert sum(len(held) for held in log.topics[CURATION]) == 1
    done = shape(replaying("replay", "run", "p.json", sha256, "--execute", "--json"))
    assert (done["status"], done["sent"], done["effects"]) == ("finished", 1, 0)
    assert done["unanswered"] == {"sano.consent.granted": 1}
    assert sum(len(held) for held in log.topics[CURATION]) == 2
    assert "1 of 1" in replaying("replay", "report", "p.json").stdout
    assert shape(replaying("replay", "run", "p.json", sha256, "--json"))["sent_before"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay", "plan", "--from", "yesterday"],
        ["replay", "plan", "--from", "2026-03-01T12:00:00"],
        ["replay", "plan", "--topic", "sano.outcomes.v1"],
        ["replay", "plan", "--type", "no.such"],
        ["replay", "plan", "--tenant", "UPPER_CASE"],
        ["replay", "run", "p.json"],
        ["replay", "run", "p.json", "not-a-hash"],
        ["replay", "run", "p.json", "0" * 64, "--rate", "0"],
        ["dlq", "redrive", "--reason", "Not A Code"],
    ],
)
def test_a_replay_that_cannot_be_meant_is_wrong_usage(replaying: Sano, arguments: list[str]) -> None:
    assert "see --help" in error_line(replaying(*arguments), 2)


def test_a_run_of_no_plan_of_another_and_of_a_changed_one_is_refused(replaying: Sano, tmp_path: Path) -> None:
    assert "p.json cannot be read" in error_line(replaying("replay", "run", "p.json", "0" * 64), 1)
    replaying("replay", "plan", "--out", "p.json")
    assert "hash of another plan" in error_line(replaying("replay", "run", "p.json", "0" * 64), 1)
    assert "p.json cannot be written (File exists)" in error_line(replaying("replay", "plan", "--out", "p.json"), 1)
    path = tmp_path / "p.json"
    path.write_text(path.read_text().replace('"messages":1', '"messages":2'))
    assert "its hash is another; plan anew" in error_line(replaying("replay", "report", "p.json"), 1)


def test_another_installation_must_be_another_and_be_described(replaying: Sano, tmp_path: Path) -> None:
    sha256 = shape(replaying("replay", "plan", "--out", "p.json", "--json"))["sha256"]
    to = tmp_path / "to.json"
    assert "to.json cannot be read" in error_line(replaying("replay", "run", "p.json", sha256, "--to", str(to)), 1)
    to.write_text('{"s3_bucket": "secret-value"}')
    line = error_line(replaying("replay", "run", "p.json", sha256, "--to", str(to)), 1)
    assert "describes no installation" in line
    assert "secret-value" not in line
    to.write_text(json.dumps({"kafka_bootstrap_servers": UNUSED_PORT, "s3_bucket": "bucket"}))
    line = error_line(replaying("replay", "run", "p.json", sha256, "--to", str(to)), 1)
    assert "is the installation that the events are from" in line


def test_dead_letters_are_listed_and_redriven_only_when_told_to(replaying: Sano, log: MemoryLog) -> None:
    assert replaying("dlq", "list").stdout == "there are no such dead letters\n"
    [message] = [m for held in log.topics[CURATION] for m in held]
    reasons = [("dlq_reason", b"no-content"), ("dlq_consumer", b"curation")]
    letter = RawMessage(f"{CURATION}.dlq", message.key, message.value, [*message.headers, *reasons])
    asyncio.run(log.publish_raw(letter))
    [held] = shape(replaying("dlq", "list", "--reason", "no-content", "--json"))
    assert (held["status"], held["tenant"], held["failures"]) == (
        "waiting",
        "t1",
        [{"reason": "no-content", "consumer": "curation"}],
    )
    assert "no-content" in replaying("dlq", "list").stdout
    assert "nothing is sent; --execute sends" in replaying("dlq", "redrive").stdout
    assert shape(replaying("dlq", "redrive", "--json"))["messages"] == 1
    assert shape(replaying("dlq", "redrive", "--execute", "--json"))["sent"] == 1
    assert shape(replaying("dlq", "redrive", "--execute", "--json"))["sent"] == 0
    assert [held["status"] for held in shape(replaying("dlq", "list", "--json"))] == ["redriven"]
