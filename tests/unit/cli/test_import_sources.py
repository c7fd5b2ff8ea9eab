"""Files of FHIR and HL7 v2: what is good is proposed, what is not gets a line each, and the exit status says so."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from schemas.bus.events import ConsentGranted, ConsentRevoked, ExampleProposed
from tests.fixtures.gates import GATE
from tests.unit.cli.command import TENANT, Sano, shape
from tests.unit.fhir_parts import DEMO, questionnaire, written
from tests.unit.operator_parts import Parts


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "source.key"
    path.write_bytes(base64.b64encode(b"k" * 32))
    path.chmod(0o600)
    return path


def test_the_command_proposes_what_is_good_says_what_is_not_and_fails_at_the_end(
    sano: Sano, parts: Parts, tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenancy.redaction.standard.standard_gate", lambda: GATE)
    said = shape(sano("import", str(DEMO), "--tenant", TENANT, "--fhir", "--json", source_key_file=secret))
    assert said == {
        "tenant": TENANT,
        "proposed": 4,
        "consents_granted": 1,
        "consents_revoked": 1,
        "withdrawn": 0,
        "redacted": 2,
        "passed_over": 4,
        "refused": 0,
    }
    bad = written(tmp_path / "bad.ndjson", '{"the secret"', questionnaire())
    failed = sano("import", str(bad), str(DEMO), "--tenant", TENANT, "--fhir", source_key_file=secret)
    assert failed.exit_code == 1
    assert failed.stderr == f"error: {bad}:1: refused: it is not JSON, or nested too deep\n"
    assert "5 examples proposed" in failed.stdout
    kinds = [type(event.data) for event in parts.publisher.events]
    assert [kinds.count(kind) for kind in (ConsentGranted, ConsentRevoked, ExampleProposed)] == [2, 2, 9]


def test_a_batch_file_of_hl7_is_proposed_with_the_codes_that_are_given(
    sano: Sano, parts: Parts, tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenancy.redaction.standard.standard_gate", lambda: GATE)
    path = tmp_path / "batch.hl7"
    head = "MSH|^~\\&|EHR|W|||20260301||ORU^R01|{}|P|2.5.1\r"
    path.write_text(f"{head.format('M1')}OBX|1|TX|ASK||Which?\rOBX|2|TX|TELL||This.\r{head.format('')}")
    codes = ("--question-code", "ASK", "--answer-code", "TELL")
    failed = sano("import", str(path), "--tenant", TENANT, "--hl7", *codes, source_key_file=secret)
    assert (failed.exit_code, failed.stderr) == (
        1,
        f"error: {path}: message 2: refused: no-control-id; see docs/sources.md\n",
    )
    assert "1 examples proposed" in failed.stdout
    [event] = parts.publisher.events
    assert isinstance(event.data, ExampleProposed)
    assert event.data.source == "hl7"


def test_options_that_do_not_go_together_are_refused(sano: Sano, tmp_path: Path) -> None:
    for wrong in (["--raw", "--fhir"], ["--hl7", "--fhir"], ["--mapping", "x"], ["--raw", "--mapping", "x"], ["again"]):
        assert sano("import", "file", *wrong, "--tenant", TENANT).exit_code == 2
