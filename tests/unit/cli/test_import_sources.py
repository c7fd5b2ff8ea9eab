"""Files of FHIR and HL7 v2: what is good is proposed, what is not gets a line each, and the exit status says so."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey
from typer.testing import CliRunner

from producers.cli.main import app
from producers.cli.platform import Platform
from schemas.bus.events import ConsentGranted, ConsentRevoked, ExampleProposed
from tenancy.bus import RecordingPublisher
from tests.fixtures.gates import GATE
from tests.unit.cli.command import TENANT, UNUSED_PORT, Sano, error_line, shape
from tests.unit.fhir_parts import DEMO, questionnaire, written
from tests.unit.operator_parts import Parts


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


@pytest.mark.parametrize("how", ["--raw", "--fhir", "--hl7"])
def test_with_the_tenants_public_key_at_hand_a_source_needs_neither_bucket_nor_master_key(
    how: str, tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tenancy.redaction.standard.standard_gate", lambda: GATE)
    monkeypatch.setenv("SANO_KAFKA_BOOTSTRAP_SERVERS", UNUSED_PORT)
    monkeypatch.setenv("SANO_SOURCE_KEY_FILE", str(secret))
    (tmp_path / "jwk.json").write_text(json.dumps(OKPKey.generate_key("X25519", private=False).as_dict()))
    turns = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "This."}]
    (tmp_path / "raw").write_text(json.dumps({"messages": turns}))
    (tmp_path / "hl7").write_text(
        "MSH|^~\\&|EHR|W|||20260301||ORU^R01|M1|P|2.5.1\rOBX|1|TX|QUESTION||Which?\rOBX|2|TX|ANSWER||This."
    )
    files = {"--raw": "raw", "--fhir": str(DEMO), "--hl7": "hl7"}
    published = RecordingPublisher()

    def none(*_: object) -> Any:
        raise AssertionError("the hospital's side has no such rights")

    here = Platform(none, none, none, publishing=lambda _: nullcontext(published))
    said = CliRunner().invoke(app, ["import", files[how], "--tenant", TENANT, how, "--jwk", "jwk.json"], obj=here)
    assert said.exit_code == 0, said.output
    assert any(isinstance(event.data, ExampleProposed) for event in published.events)


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


@pytest.mark.parametrize(
    "wrong",
    [
        "--raw --fhir",
        "--hl7 --fhir",
        "--mapping x",
        "--raw --mapping x",
        "another",
        "--raw --question-code ASK",
        "--fhir --answer-code TELL",
        "--jwk x",
        "--raw --wait",
    ],
)
def test_options_that_do_not_go_together_are_refused(sano: Sano, tmp_path: Path, wrong: str) -> None:
    (tmp_path / "file").write_text("")
    error_line(sano("import", "file", *wrong.split(), "--tenant", TENANT), 2)
