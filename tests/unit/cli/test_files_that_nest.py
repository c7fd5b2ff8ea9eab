"""Every file that the command reads may be anything: what it cannot walk is one clear line, not a defect of ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from producers.replay.journal import read_journal
from producers.settings import STACK_FILE, installation_settings, operator_settings
from schemas.base.json_text import MAX_DEPTH, parse_json
from schemas.models.heldout import HeldoutFileError, read_heldout
from tenancy.errors import Refused
from tests.unit.cli.command import Sano, error_line
from tests.unit.operator_parts import Parts

LEVELS = 100_000


def enveloped(statement: str) -> str:
    payload = base64.b64encode(statement.encode()).decode()
    return json.dumps({"payload": payload, "payloadType": "application/vnd.in-toto+json", "signatures": []})


def at(depth: int) -> str:
    return "[" * depth + "]" * depth


BODIES = {
    "lists that never end": "[" * LEVELS,
    "lists that end": at(LEVELS),
    "objects": '{"a":' * LEVELS + "1" + "}" * LEVELS,
    "lists that Python parses and our own code could not walk": at(400),
    "an envelope around lists": enveloped("[" * LEVELS),
    "an envelope around a statement with lists": enveloped(f'{{"predicateType": "x", "predicate": {at(400)}}}'),
    "a field of lists": f'{{"payload": {at(400)}, "format": {at(400)}, "messages": {at(400)}, "plan": {at(400)}}}',
}

COMMANDS = {
    "verify": ("verify", "file", "--key", "certificate.pub.pem"),
    "countersign": ("countersign", "file", "--key", "verifier.pem", "--signer-key", "certificate.pub.pem"),
    "audit verify --copy": ("audit", "verify", "--copy", "file", "--key", "certificate.pub.pem"),
    "audit verify --expect-checkpoint": (
        "audit",
        "verify",
        "--tenant",
        "t1",
        "--expect-checkpoint",
        "file",
        "--key",
        "certificate.pub.pem",
    ),
    "import": ("import", "file", "--tenant", "t1"),
    "replay run": ("replay", "run", "file", "a" * 64),
    "replay report": ("replay", "report", "file"),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_file_that_nests_too_deep_is_refused_in_one_line(
    sano: Sano, tmp_path: Path, arguments: tuple[str, ...], body: str
) -> None:
    (tmp_path / "file").write_text(body)
    pkcs8 = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    (tmp_path / "verifier.pem").write_bytes(Ed25519PrivateKey.generate().private_bytes(*pkcs8))
    line = error_line(sano(*arguments), 1)
    assert "refused: " in line


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_copy_whose_certificate_or_entries_nest_too_deep_is_broken(
    sano: Sano, parts: Parts, tmp_path: Path, body: str
) -> None:
    assert sano("audit", "export", "--tenant", "t1", "--to", "copy.jsonl").exit_code == 0
    copied = (tmp_path / "copy.jsonl").read_text()
    for name in ("certificate.json", "entries/000000000001", "checkpoints/00000001.json"):
        (tmp_path / "copy.jsonl").write_text(f"{copied}{json.dumps({'name': name, 'body': body})}\n")
        result = sano("audit", "verify", "--copy", "copy.jsonl", "--key", "certificate.pub.pem")
        assert result.exit_code == 1
        assert "does not hold" in result.stderr
        assert "unexpected" not in result.stderr


def refused(read: Callable[[Path], object]) -> Callable[[Path], None]:
    def expect(path: Path) -> None:
        with pytest.raises((Refused, HeldoutFileError)):
            read(path)

    return expect


READ = {
    "held-out questions": refused(read_heldout),
    "a journal": refused(lambda path: read_journal(path, "a" * 64)),
    "an installation": refused(installation_settings),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("expect_refusal", READ.values(), ids=READ.keys())
def test_the_other_files_refuse_it_too(tmp_path: Path, expect_refusal: Callable[[Path], None], body: str) -> None:
    (tmp_path / "file").write_text(f"{body}\n")
    expect_refusal(tmp_path / "file")


def test_a_stack_file_that_nests_too_deep_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    STACK_FILE.parent.mkdir()
    STACK_FILE.write_text("[" * LEVELS)
    with pytest.raises(Refused, match="is not a stack file"):
        operator_settings()


@pytest.mark.parametrize(("depth", "is_taken"), [(1, True), (MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_the_depth_has_a_bound(depth: int, is_taken: bool) -> None:
    try:
        parsed: Any = parse_json(at(depth))
    except ValueError:
        assert not is_taken
    else:
        assert is_taken
        assert json.dumps(parsed) == at(depth)
