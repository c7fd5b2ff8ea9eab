"""Ctrl-C ends a command with one line and status 130, and a wait says what goes on without it."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from producers.cli.errors import in_one_line
from producers.queries import tenants, waiting
from tests.unit.cli.command import Sano, error_line, interrupted


def test_an_interrupted_command_says_so(sano: Sano, monkeypatch: pytest.MonkeyPatch) -> None:
    async def pages(_: object) -> AsyncIterator[list[tenants.TenantView]]:
        await interrupted()
        yield []

    monkeypatch.setattr(tenants, "pages", pages)
    assert error_line(sano("tenant", "list"), 130) == "error: interrupted\n"


@pytest.mark.parametrize(
    ("function", "arguments", "line"),
    [
        ("run_ended", ["train", "--wait"], r"goes on; `sano runs --tenant t1` shows how"),
        ("purge_certified", ["purge", "--wait"], "the purge goes on; `sano purges` shows how far it is"),
        ("purge_certified", ["churn", "--certificate", "c.json"], "the purge goes on"),
        ("examples_curated", ["import", "a.jsonl", "--wait"], "all is published, and curation goes on"),
    ],
)
def test_an_interrupted_wait_says_what_goes_on(
    sano: Sano,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    arguments: list[str],
    line: str,
) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],'
        ' "reviewer": "r", "consent": "c"}'
    )
    monkeypatch.setattr(waiting, function, interrupted)
    said = error_line(sano(*arguments, "--tenant", "t1"), 130)
    assert said.startswith("error: interrupted; ")
    assert line in said


def test_a_full_disk_is_named_and_is_no_defect_of_ours() -> None:
    line = in_one_line(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert line == "what was to be written could not be (No space left on device); make room, and try again"
