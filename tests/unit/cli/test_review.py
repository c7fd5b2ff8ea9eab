"""``sano import --raw`` and ``sano review``: a file is redacted, proposed, looked at and decided on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from schemas.bus import events
from tests.fixtures.gates import GATE, NAME
from tests.unit.cli.command import TENANT, Sano, error_line, shape
from tests.unit.operator_parts import Parts
from tests.unit.proposal_parts import Review

LINE = {
    "messages": [
        {"role": "user", "content": f"May {NAME}, 4482913, have it?\x1b[2J"},
        {"role": "assistant", "content": "No."},
    ],
    "example_id": "e1",
    "author": "rev-1",
}


def test_a_raw_file_is_proposed_listed_shown_on_terminals_only_and_decided(
    sano: Sano, parts: Parts, tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenancy.redaction.standard.standard_gate", lambda: GATE)
    raw, held = tmp_path / "raw.jsonl", Review(parts, TENANT)
    raw.write_text(json.dumps(LINE))
    proposing = ("import", str(raw), "--tenant", TENANT, "--raw")
    assert "SANO_SOURCE_KEY_FILE" in error_line(sano(*proposing), 1)
    said = shape(sano(*proposing, "--json", source_key_file=secret))
    assert said == {"tenant": TENANT, "proposed": 1, "consents": 0, "redacted": 2}
    asyncio.run(held.handle())
    [waiting] = shape(sano("review", "list", "--tenant", TENANT, "--json"))
    assert (waiting["example_id"], waiting["source"], waiting["approvals"]) == ("e1", "file", 0)
    assert "on a terminal" in error_line(sano("review", "show", "e1", "--tenant", TENANT), 1)
    monkeypatch.setattr("producers.cli.review.is_terminal", lambda: True)
    shown = sano("review", "show", "e1", "--tenant", TENANT)
    assert shown.exit_code == 0
    assert "May [PATIENT-1], [MRN-1], have it?" in shown.output
    assert "\x1b" not in shown.output
    assert NAME not in shown.output
    verdict = ("e1", "--tenant", TENANT, "--version", "1", "--reviewer")
    assert "does not review" in error_line(sano("review", "approve", *verdict, "rev-1"), 1)
    assert sano("review", "reject", *verdict, "rev-2", "--reason", "wrong-answer").exit_code == 0
    [event] = parts.publisher.events
    assert isinstance(event.data, events.ExampleReviewed)
    assert (event.data.verdict, event.data.reason_code, event.data.version) == ("rejected", "wrong-answer", 1)
    asyncio.run(held.handle())
    assert shape(sano("review", "list", "--tenant", TENANT, "--json")) == []
    assert "no such example waits" in error_line(sano("review", "approve", *verdict, "rev-3"), 1)


def test_an_approvals_file_names_the_operator_who_states_that_it_was_reviewed_elsewhere(
    sano: Sano, parts: Parts, tmp_path: Path
) -> None:
    path = tmp_path / "approvals.jsonl"
    path.write_text(json.dumps({"messages": LINE["messages"], "reviewer": "rev-1", "consent": "consent-1"}))
    assert sano("import", str(path), "--tenant", TENANT, operator_id="op-7").exit_code == 0
    [approved] = [event.data for event in parts.publisher.events if isinstance(event.data, events.ExampleApproved)]
    assert approved.stated_by == "op-7"
    assert approved.gate is not None
    assert (approved.gate.gate, approved.gate.verdict) == ("sano-gate", "clean"), "what stands here was redacted here"
