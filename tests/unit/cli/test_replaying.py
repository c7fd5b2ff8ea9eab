"""``sano replay`` and ``sano dlq``: nothing is sent before it was looked at and told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from producers.cli.main import app
from producers.cli.platform import Platform
from producers.replay.running import Run
from producers.settings import OperatorSettings
from schemas.bus.envelope import Event
from schemas.bus.events import CURATION, ConsentGranted
from tenancy.bootstrap import Tenancy, assemble
from tenancy.bus import RawMessage
from tenancy.storage.master_keys import KeyFileMasterKey
from tests.unit.cli.command import TENANT, UNUSED_PORT, Sano, error_line, interrupted, shape
from tests.unit.operator_parts import NOW, Parts
from tests.world.memory_log import MemoryLog


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
        here = Platform(lambda: settings, lambda _: nullcontext(tenancy), commanding, reading_log)
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


def test_an_interrupted_run_says_that_it_can_go_on(
    replaying: Sano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaying("replay", "plan", "--out", "p.json")
    command = ("replay", "run", "p.json", json.loads((tmp_path / "p.json").read_text())["sha256"], "--execute")
    with monkeypatch.context() as patched:
        patched.setattr(Run, "execute", interrupted)
        line = error_line(replaying(*command), 130)
    assert line == "error: interrupted; the same command goes on where it stopped\n"
    assert "1 of 1" in replaying(*command).stdout


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


def test_a_redrive_says_which_letters_do_not_hold_their_messages(replaying: Sano, log: MemoryLog) -> None:
    place = [("dlq_topic", CURATION.encode()), ("dlq_partition", b"3"), ("dlq_offset", b"41")]
    reasons = [("dlq_reason", b"too-large"), ("dlq_consumer", b"curation"), *place]
    asyncio.run(log.publish_raw(RawMessage(f"{CURATION}.dlq", b"t1", None, reasons)))
    [held] = shape(replaying("dlq", "list", "--json"))
    assert (held["status"], held["original"]) == ("too-large", f"{CURATION}/3/41")
    for command in (["dlq", "redrive"], ["dlq", "redrive", "--execute"]):
        assert "1 letters do not hold their messages" in replaying(*command).stdout
