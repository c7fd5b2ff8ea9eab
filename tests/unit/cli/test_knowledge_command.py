"""``sano knowledge``, as it is typed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from schemas.bus import events
from tests.unit.cli.command import TENANT, Sano, error_line, shape
from tests.unit.operator_parts import Parts


def test_the_command_adds_lists_and_removes(sano: Sano, parts: Parts, tmp_path: Path) -> None:
    file = tmp_path / "formulary.md"
    file.write_text("# Dose\n\n5 mg\n")
    said = shape(
        sano(
            "knowledge", "add", str(file), "--tenant", TENANT, "--id", "d1", "--as-is", "--from", "2026-03-01", "--json"
        )
    )
    assert said == [{"document_id": "d1", "version": 1, "status": "new", "redacted": 0}]
    [event] = [event.data for event in parts.publisher.events]
    assert isinstance(event, events.DocumentUpserted)
    assert (event.effective_from, event.stated_by) == (datetime(2026, 3, 1, tzinfo=UTC), "operator")
    assert "the tenant has no documents" in sano("knowledge", "list", "--tenant", TENANT).output
    assert shape(sano("knowledge", "list", "--tenant", TENANT, "--json")) == []
    assert "up to version 1" in sano("knowledge", "remove", "d1", "--tenant", TENANT).output
    dates = ("--from", "2026-03-02", "--until", "2026-03-01")
    assert "--until must be later" in error_line(sano("knowledge", "add", str(file), "--tenant", TENANT, *dates), 1)
