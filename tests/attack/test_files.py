"""Every file that ``sano`` reads, damaged in every way: one clear line, exit status 1 or 2, and nothing written."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from producers.cli.main import app
from producers.cli.platform import Platform
from producers.queries.audit_copy import read_copy
from producers.settings import OperatorSettings, installation_settings
from schemas.bus.envelope import Event
from schemas.bus.events.curation import ConsentGranted
from schemas.evidence.purposes import Purpose
from schemas.models.heldout import read_heldout
from schemas.objects import object_keys
from tenancy.audit.copy import write_copy
from tenancy.bootstrap import Tenancy
from tenancy.evidence.keys import LocalKey
from tenancy.storage.master_keys import KeyFileMasterKey
from tests.attack.conftest import Size
from tests.attack.damaged_files import Damage
from tests.attack.fuzzed_events import Mutations
from tests.fixtures.all_keys import AllKeys
from tests.invariants.worlds import learned
from tests.unit.cli.command import TENANT, UNUSED_PORT, public_pem
from tests.unit.cli.test_certificates import private_file, public_file
from tests.unit.operator_parts import (
    NOW,
    adapter_files,
    certificate,
    manifest,
    signed_certificate,
    signed_manifest,
    signed_receipt,
)
from tests.unit.test_verifying import signed_withdrawal, withdrawal
from tests.world.memory_log import MemoryLog
from tests.world.world import World

pytestmark = pytest.mark.timeout(3600)

MARKER = "qzvxkjwyhgfdpbmtrslnckdj"
LINE = {
    "messages": [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}],
    "reviewer": "reviewer-1",
    "consent": "consent-1",
}
QUESTION = {"id": "q1", "question": "What?", "must": [["that"]], "must_not": [], "answer": "That."}
INSTALLATION = {
    "kafka_bootstrap_servers": UNUSED_PORT,
    "s3_endpoint_url": f"http://{UNUSED_PORT}",
    "s3_bucket": "bucket",
    "aws_access_key_id": None,
    "aws_secret_access_key": None,
    "inference_url": f"http://{UNUSED_PORT}",
    "master_key_file": "master.key",
    "trust_file": "trust.json",
    "trust_root_file": "root.pub.pem",
    "trust_root_key": "root.pem",
    "token_key": "token.pem",
    "event_key": "event.pem",
    "base_model": "no-model",
    "processes": [{"name": "bus", "pid": 1, "log": "bus.log"}],
}
KEY = ("--trust", "trust.json", "--root", "root.pub.pem")
COUNTERSIGNING = (
    "countersign",
    "c.json",
    "--key",
    "verifier.pem",
    "--signer-key",
    "certificate.pub.pem",
    "--out",
    "o.json",
)
MASTER = "master.key"


@dataclass(frozen=True)
class Reading:
    """A file, and the command that reads it as it lies in the current folder."""

    file: str
    arguments: tuple[str, ...]


READINGS = {
    "a certificate": Reading("c.json", ("verify", "c.json", *KEY)),
    "a certificate, as JSON": Reading("c.json", ("verify", "c.json", *KEY, "--json")),
    "an eviction receipt": Reading("receipt.json", ("verify", "receipt.json", *KEY)),
    "a withdrawal receipt": Reading("withdrawal.json", ("verify", "withdrawal.json", *KEY)),
    "a manifest": Reading("manifest.json", ("verify", "manifest.json", *KEY)),
    "weights beside a manifest": Reading("adapter_model.safetensors", ("verify", "manifest.json", *KEY)),
    "a configuration beside a manifest": Reading("adapter_config.json", ("verify", "manifest.json", *KEY)),
    "the trust file": Reading("trust.json", ("verify", "c.json", *KEY)),
    "the public root key": Reading("root.pub.pem", ("verify", "c.json", *KEY)),
    "a public key": Reading("other.pub.pem", ("verify", "c.json", "--key", "other.pub.pem")),
    "a verifier's public key": Reading("other.pub.pem", ("verify", "c.json", *KEY, "--verifier-key", "other.pub.pem")),
    "a certificate to countersign": Reading(
        "c.json",
        ("countersign", "c.json", "--key", "verifier.pem", "--signer-key", "certificate.pub.pem", "--out", "o.json"),
    ),
    "a private key": Reading(
        "verifier.pem",
        ("countersign", "c.json", "--key", "verifier.pem", "--signer-key", "certificate.pub.pem", "--out", "o.json"),
    ),
    "approvals": Reading("approvals.jsonl", ("import", "approvals.jsonl", "--tenant", TENANT)),
    "a copy of the audit log": Reading("t1.audit.jsonl", ("audit", "verify", "--copy", "t1.audit.jsonl", *KEY)),
    "a checkpoint": Reading(
        "checkpoint.json",
        ("audit", "verify", "--copy", "t1.audit.jsonl", *KEY, "--expect-checkpoint", "checkpoint.json"),
    ),
    "a witness's copy": Reading(
        "witness.jsonl", ("audit", "verify", "--copy", "t1.audit.jsonl", *KEY, "--expect-checkpoint", "witness.jsonl")
    ),
    "a plan of a replay": Reading("p.json", ("replay", "report", "p.json")),
    "a journal of a replay": Reading("p.journal.jsonl", ("replay", "report", "p.json")),
}
OFFLINE = {
    "the stack's file, for its status": Reading(".sano/stack.json", ("status",)),
    "the stack's file, for a setting": Reading(".sano/stack.json", ("tenant", "token", TENANT)),
}
"""Commands that are given no installation: they look at what lies in the folder."""
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a master key": (MASTER, KeyFileMasterKey.read),
    "held-out questions": ("heldout.jsonl", read_heldout),
    "another installation's settings": ("other.json", installation_settings),
}
"""What no command reads that needs nothing else."""


class Desk:
    """A folder with every kind of file, all of them sound, and an installation in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(folder.parent / "scratch")
        self.keys = self.world.keys
        self.log = MemoryLog()
        self.settings = OperatorSettings(
            kafka_bootstrap_servers=UNUSED_PORT,
            s3_bucket="bucket",
            trust_file=folder / "trust.json",
            trust_root_file=folder / "root.pub.pem",
        )
        mutations = Mutations(("t1", "purge-1", "replica-1", "w-1", "base", "spec"), ("a" * 64, "c" * 64), MARKER)
        self.damage = Damage(mutations, self.keys)

    async def fill(self) -> None:
        await self.world.onboard(TENANT)
        await learned(self.world, TENANT)
        await self.log.publish(Event(TENANT, ConsentGranted(consent_id="c-1", version=1), NOW, "/ehr"))
        (self.folder / ".sano").mkdir(parents=True)
        self._keys()
        files = adapter_files()
        documents: dict[str, Any] = {
            "c.json": signed_certificate(self.keys, certificate()),
            "receipt.json": signed_receipt(self.keys),
            "withdrawal.json": signed_withdrawal(self.keys, withdrawal()),
            "manifest.json": signed_manifest(self.keys, manifest(TENANT, files)),
            ".sano/stack.json": INSTALLATION,
            "other.json": {name: value for name, value in INSTALLATION.items() if name != "processes"},
            "approvals.jsonl": LINE,
            "heldout.jsonl": QUESTION,
        }
        for name, held in documents.items():
            (self.folder / name).write_text(json.dumps(held) + "\n")
        (self.folder / "approvals.jsonl").write_text(
            "".join(json.dumps({**LINE, "example_id": f"n{n}"}) + "\n" for n in range(4))
        )
        for name in (object_keys.ADAPTER_WEIGHTS, object_keys.ADAPTER_CONFIG):
            (self.folder / name).write_bytes(files[name])
        copied = await read_copy(self.world.outside, TENANT)
        for name in ("t1.audit.jsonl", "witness.jsonl"):
            write_copy(copied, self.folder / name)
        (self.folder / "checkpoint.json").write_bytes(copied.checkpoints[-1].body)

    def _keys(self) -> None:
        self.keys.write(self.folder)
        public_file(self.folder / "other.pub.pem", self.keys.private[Purpose.CERTIFICATE])
        private_file(self.folder / "verifier.pem", LocalKey.generate())
        (self.folder / MASTER).write_bytes(b"bW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW0=\n")
        (self.folder / MASTER).chmod(0o600)

    def plan(self) -> None:
        assert self.run("replay", "plan", "--tenant", TENANT, "--out", "p.json").exit_code == 0
        (self.folder / "p.journal.jsonl").write_text('{"kind": "begun"}\n')

    def run(self, *arguments: str, offline: bool = False) -> Result:
        @asynccontextmanager
        async def commanding(_: OperatorSettings) -> AsyncIterator[Tenancy]:
            yield self.world.outside

        @asynccontextmanager
        async def reading_log(_: OperatorSettings) -> AsyncIterator[MemoryLog]:
            yield self.log

        here = Platform(lambda: self.settings, lambda _: nullcontext(self.world.outside), commanding, reading_log)
        return CliRunner().invoke(app, arguments, obj=None if offline else here)

    def everything(self) -> tuple[dict[str, bytes], int, int]:
        """What could have been written: the folder, the bucket and the bus."""
        files = {str(path): path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}
        versions = sum(len(held) for held in self.world.memory.objects.values())
        return files, versions, sum(map(len, self.world.bus.topics.values()))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    folder = tmp_path / "desk"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("SANO_")]:
        monkeypatch.delenv(name)
    made = Desk(folder)
    asyncio.run(made.fill())
    made.plan()
    return made


@pytest.mark.parametrize("what", READINGS)
def test_each_file_is_sound_before_it_is_damaged(desk: Desk, what: str) -> None:
    (desk.folder / "p.journal.jsonl").unlink()
    result = desk.run(*READINGS[what].arguments)
    assert result.exit_code == (1 if "verifier" in what else 0), result.output


@pytest.mark.parametrize("what", [*READINGS, *OFFLINE])
def test_a_damaged_file_is_refused_in_one_line_and_nothing_is_written(
    desk: Desk, what: str, size: Size, seed: int
) -> None:
    reading = {**READINGS, **OFFLINE}[what]
    path = desk.folder / reading.file
    sound = path.read_bytes()
    (desk.folder / "o.json").unlink(missing_ok=True)
    for number in range(size.files):
        path.write_bytes(desk.damage.of(sound, Random(f"{seed}/{what}/{number}")))
        before = desk.everything()
        result = desk.run(*reading.arguments, offline=what in OFFLINE)
        name = f"{seed}/{what}/{number}"
        assert result.exception is None or isinstance(result.exception, SystemExit), name
        assert result.exit_code in (0, 1, 2), name
        assert "unexpected" not in result.output, f"{name}: {result.stderr.strip()}"
        assert "Traceback" not in result.output, name
        if result.exit_code == 0:
            continue  # what was changed says nothing to this command, or is said by whoever may sign it
        if reading.arguments != ("status",) or result.stderr:  # whose status is also 1 where something does not run
            assert result.stderr.count("\n") == 1, name
            assert result.stderr.startswith("error: "), name
        if what not in OFFLINE:  # there it may stand for a path, and the file of a path that is missing is named
            assert MARKER not in result.stderr, name
        assert desk.everything() == before, name


FOUND: tuple[tuple[str, bytes], ...] = (
    ("a certificate", b"[" * 100_000),
    ("a configuration beside a manifest", b'{"r": 1' + b"0" * 40 + b"}"),
    ("a configuration beside a manifest", b'{"r": 1e999}'),
    (
        "a copy of the audit log",
        b'{"format": "sanolith.audit-copy.v1", "tenant": "t1", "read_at": "2026-01-01T00:00:00Z"}\n'
        b'{"name": 7, "body": ""}',
    ),
    ("a checkpoint", b"[" * 100_000),
    ("a plan of a replay", b'{"plan": ' + b"[" * 100_000),
)
"""What was once answered with a word that is no operator's business."""


@pytest.mark.parametrize(("what", "body"), FOUND, ids=[f"{number}" for number in range(len(FOUND))])
def test_what_was_once_an_unexpected_error_is_none(desk: Desk, what: str, body: bytes) -> None:
    (desk.folder / READINGS[what].file).write_bytes(body)
    result = desk.run(*READINGS[what].arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: refused: ")


@pytest.mark.parametrize("what", READERS)
def test_a_damaged_file_that_a_part_reads_is_refused_in_one_line(desk: Desk, what: str, size: Size, seed: int) -> None:
    from producers.cli.errors import in_one_line
    from schemas.models.heldout import HeldoutFileError

    name, read = READERS[what]
    path = desk.folder / name
    sound = path.read_bytes()
    read(path)
    for number in range(size.files):
        path.write_bytes(desk.damage.of(sound, Random(f"{seed}/{what}/{number}")))
        try:
            read(path)
        except HeldoutFileError as error:
            line = str(error)
        except Exception as error:
            line = in_one_line(error)
        else:
            continue
        assert "unexpected" not in line, f"{seed}/{what}/{number}: {line}"
        assert MARKER not in line


@pytest.mark.parametrize("what", [name for name in READINGS if READINGS[name].arguments[0] == "verify"])
def test_no_byte_of_a_signed_document_can_be_changed_by_somebody_who_cannot_sign(
    desk: Desk, what: str, size: Size, seed: int
) -> None:
    reading = READINGS[what]
    path = desk.folder / reading.file
    sound = path.read_bytes()
    stranger = Damage(desk.damage.mutations, AllKeys.made())
    for number in range(size.files):
        damaged = stranger.of(sound, Random(f"{seed}/{what}/{number}"))
        path.write_bytes(damaged)
        if desk.run(*reading.arguments).exit_code == 0:
            assert says_the_same(damaged, sound), f"{seed}/{what}/{number} verifies"


def says_the_same(damaged: bytes, sound: bytes) -> bool:
    """Whether only the spelling of the JSON was changed, or of the PEM."""
    try:
        return bool(json.loads(damaged) == json.loads(sound))
    except ValueError:
        return b"".join(sound.split()) in b"".join(damaged.split())


def test_the_public_key_of_the_desk_is_its_signers(desk: Desk) -> None:
    assert (desk.folder / "certificate.pub.pem").read_bytes() == public_pem(desk.keys)
