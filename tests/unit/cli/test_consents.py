"""``sano consent``: from standard input, under the very ids that a source proposes under, and never quoted."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey
from typer.testing import CliRunner, Result

from producers.cli.main import app
from producers.cli.platform import Platform
from schemas.bus.events import ConsentGranted, ConsentRevoked, EventData, ExampleProposed
from tenancy.bus import RecordingPublisher
from tests.fixtures.gates import GATE
from tests.unit.cli.command import TENANT, UNUSED_PORT, error_line
from tests.unit.fhir_parts import questionnaire, written

HL7 = (
    "MSH|^~\\&|EHR|W|||20260301||ORU^R01|M1|P|2.5.1\rPID|1||4482913^^^MRN&2.16&ISO||Doe^Jane\r"
    "OBX|1|TX|QUESTION||Which?\rOBX|2|TX|ANSWER||This."
)

Run = Callable[..., tuple[Result, list[EventData]]]


@pytest.fixture
def run(tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command with the bus alone, as on the hospital's side; what it said, and what it published."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tenancy.redaction.standard.standard_gate", lambda: GATE)
    monkeypatch.setenv("SANO_KAFKA_BOOTSTRAP_SERVERS", UNUSED_PORT)
    monkeypatch.setenv("SANO_SOURCE_KEY_FILE", str(secret))
    (tmp_path / "jwk.json").write_text(json.dumps(OKPKey.generate_key("X25519", private=False).as_dict()))

    def none(*_: object) -> Any:
        raise AssertionError("the hospital's side has no such rights")

    def given(*words: str, lines: str = "") -> tuple[Result, list[EventData]]:
        published = RecordingPublisher()
        here = Platform(none, none, none, publishing=lambda _: nullcontext(published))
        said = CliRunner().invoke(app, [*words, "--tenant", TENANT, "--jwk", "jwk.json"], input=lines, obj=here)
        return said, [event.data for event in published.events]

    return given


@pytest.mark.parametrize("named", ["hl7", "fhir"])
def test_who_is_named_as_the_source_names_them_is_who_its_proposals_are_of(
    run: Run, tmp_path: Path, named: str
) -> None:
    (tmp_path / "m.hl7").write_text(HL7)
    written(tmp_path / "m.ndjson", questionnaire())
    file, lines = {
        "hl7": ("m.hl7", "\ufeff4482913^^^MRN\n4482913^^^MRN&2.16&ISO\n\n"),
        "fhir": ("m.ndjson", "Patient/p1\nhttps://ehr.example/fhir/Patient/p1/_history/3\n"),
    }[named]
    _, proposed = run("import", file, f"--{named}")
    [proposal] = [data for data in proposed if isinstance(data, ExampleProposed)]
    said, [granted] = run("consent", "grant", "--as", named, lines=lines)
    assert said.output == "1 consents granted\n"
    assert isinstance(granted, ConsentGranted)
    assert granted.consent_id == proposal.consent_id
    said, [revoked] = run("consent", "revoke", "--as", named, "--json", lines=lines)
    assert json.loads(said.output) == {"tenant": TENANT, "consents_revoked": 1}
    assert isinstance(revoked, ConsentRevoked)
    assert (revoked.consent_id, revoked.version > granted.version) == (proposal.consent_id, True)


def test_consents_by_their_own_ids_need_no_key_of_a_source(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SANO_SOURCE_KEY_FILE")
    _, decided = run("consent", "grant", "--version", "2", lines="consent-7\nconsent-8\n")
    assert [(data.consent_id, data.version) for data in decided if isinstance(data, ConsentGranted)] == [
        ("consent-7", 2),
        ("consent-8", 2),
    ]
    for words in (("--as", "hl7", "--version", "2"), ()):  # the publisher's own numbers go on, the others are times
        assert run("consent", "grant", *words, lines="consent-7\n")[0].exit_code == 2
    said, nothing = run("consent", "grant", "--as", "hl7", lines="4482913^^^MRN\n")
    assert "key file" in error_line(said, 1)
    assert nothing == []


@pytest.mark.parametrize(
    ("named", "lines"),
    [
        ("id", "consent-7\nJane Doe, secret\n"),
        ("hl7", "1^^^MRN\n^secret^^MRN"),
        ("hl7", "PID|1||4482913^^^secret"),
        ("hl7", '"4482913^^^secret"'),
        ("hl7", "4482913^^^secret,"),
        ("fhir", "secret"),
        ("fhir", "patient/secret"),
        ("fhir", "Patient/secret,"),
        ("id", " \n"),
    ],
)
def test_where_one_line_names_nobody_nothing_is_decided_and_nothing_quoted(run: Run, named: str, lines: str) -> None:
    version = ("--version", "2") if named == "id" else ()
    said, nothing = run("consent", "grant", "--as", named, *version, lines=lines)
    line = error_line(said, 1)
    assert "refused" in line
    assert "secret" not in line
    assert nothing == []
