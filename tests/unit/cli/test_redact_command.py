"""``sano redact`` redacts JSON Lines in order, reports bad lines without their text, and needs no stack."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from producers.sources.redaction_lines import RedactedLine, read_terms, redacted_lines
from schemas.base.redaction import IdentifierType
from tenancy.errors import Refused
from tenancy.redaction.gate import UnionGate
from tenancy.redaction.rules import RuleDetector
from tenancy.redaction.terms import TenantTerms

GATE = UnionGate("listed", "1", [])
TERMS = TenantTerms({"Zebulon": IdentifierType.PATIENT})
ROOT = Path(__file__).parents[3]


def outcomes(*lines: bytes) -> list[RedactedLine | Refused]:
    return list(redacted_lines(lines, GATE, "f.jsonl", TERMS))


def test_each_line_comes_out_with_its_id_spans_and_the_gates_version_and_no_other_field() -> None:
    (done,) = outcomes(b'{"id": 7, "text": "seen by Zebulon", "note": "Zebulon"}\n')
    assert isinstance(done, RedactedLine)
    assert json.loads(done.as_json()) == {
        "id": 7,
        "text": "seen by [PATIENT-1]",
        "spans": [{"start": 8, "end": 15, "type": "PATIENT", "detector": "tenant-terms"}],
        "gate": "listed",
        "gate_version": "1",
    }


def test_shifted_dates_keep_their_distance_within_a_line_and_move_otherwise_in_the_next() -> None:
    gate = UnionGate("dates", "1", [RuleDetector()])
    line = b'{"id": 7, "text": "admitted 3/14/2024, discharged 3/20/2024"}\n'
    texts = [
        done.text for done in redacted_lines([line] * 3, gate, "f", shift_dates=True) if isinstance(done, RedactedLine)
    ]
    shown = [[date.fromisoformat(day) for day in re.findall(r" (21\d\d-\d\d-\d\d)\]", text)] for text in texts]
    assert [(discharged - admitted).days for admitted, discharged in shown] == [6, 6, 6]
    assert len({admitted for admitted, _ in shown}) > 1


BAD = [
    b"Zebulon\n",
    b'["Zebulon"]\n',
    b'{"id": "a"}\n',
    b'{"id": "a", "text": 3}\n',
    b'{"text": "Zebulon"}\n',
    b'{"id": true, "text": "Zebulon"}\n',
    b'{"id": "a", "text": "Zebulon \xff"}\n',
    b'{"id": "a", "text": "Zebulon \\ud800"}\n',
    b"[" * 100_000 + b"\n",
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: str(bad[:24]))
def test_a_bad_line_is_named_by_its_number_and_not_quoted_and_the_others_come_out_in_order(bad: bytes) -> None:
    good = [b'{"id": "%d", "text": "Zebulon %d"}\n' % (number, number) for number in (1, 2)]
    first, refused, last = outcomes(good[0], bad, b"\n", good[1])
    assert isinstance(first, RedactedLine) and isinstance(last, RedactedLine)
    assert (first.id, first.text, last.id) == ("1", "[PATIENT-1] 1", "2")
    assert isinstance(refused, Refused)
    assert str(refused).startswith("f.jsonl:2: refused: ")
    assert "Zebulon" not in str(refused) and "\n" not in str(refused)


def test_a_line_is_out_before_the_next_is_read() -> None:
    asked = []

    def slowly() -> Iterator[bytes]:
        for number in range(3):
            asked.append(number)
            yield b'{"id": "x", "text": "y"}\n'

    stream = redacted_lines(slowly(), GATE, "-")
    next(stream)
    assert asked == [0]


def test_terms_are_read_with_their_kinds_and_a_kind_that_is_none_is_refused(tmp_path: Path) -> None:
    terms, allowed = tmp_path / "terms", tmp_path / "allowed"
    terms.write_text("# staff\nCLINICIAN\tVega Ruiz\nPod Maple\n")
    allowed.write_text("Maple syrup\n")
    assert read_terms(terms, allowed) == TenantTerms(
        {"Vega Ruiz": IdentifierType.CLINICIAN, "Pod Maple": IdentifierType.PERSON}, frozenset({"Maple syrup"})
    )
    terms.write_text("STAFF\tVega\n")
    with pytest.raises(Refused, match=":1: "):
        read_terms(terms, None)
    with pytest.raises(Refused, match="cannot be read"):
        read_terms(tmp_path / "none", None)


def test_the_command_redacts_standard_input_with_the_real_gate_and_says_by_its_status_that_a_line_was_bad(
    tmp_path: Path,
) -> None:
    """The one test that loads Presidio's model: names that no rule knows, and no line is lost."""
    lines = [
        '{"id": "a", "text": "pt john smith, mrn 4482913, seen 3/14 by Dr. Patel"}',
        "no json",
        '{"id": "b", "text": "72 yo on metformin 500 mg for 3 years, Foley in place"}',
        '{"id": "c", "text": "Quetzalli Xochimilco was in Tipp City. Her son Balthazar agrees."}',
    ]
    terms = tmp_path / "terms"
    terms.write_text("Balthazar\n")
    command = [sys.executable, "-m", "producers.cli.main", "redact", "--json", "--terms", str(terms)]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: standard input:2: refused: the line is not JSON; write one JSON object on each line"
    ]
    found = [json.loads(line) for line in io.StringIO(done.stdout)]
    assert [line["id"] for line in found] == ["a", "b", "c"]
    assert found[0]["text"] == "pt [PATIENT-1], mrn [MRN-1], seen [DATE-1] by Dr. [CLINICIAN-1]"
    assert found[1]["text"] == json.loads(lines[2])["text"]
    detectors = {name for line in found for span in line["spans"] for name in span["detector"].split("+")}
    assert {"clinical-rules", "presidio", "tenant-terms"} <= detectors
    assert all(name not in found[2]["text"] for name in ("Quetzalli", "Xochimilco", "Tipp", "Balthazar"))
