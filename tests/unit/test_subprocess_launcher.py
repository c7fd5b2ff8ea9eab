"""Workers as child processes: how they are stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import pytest

from consumers.training.launching.subprocesses import SubprocessLauncher
from tenancy.tenant_id import TenantId

BOUND_SECONDS = 60.0
TENANT = TenantId("t1")

WORKER = """#!{python}
import pathlib
import signal

signal.signal(signal.SIGTERM, signal.{on_sigterm})
pathlib.Path("{started}").write_bytes(b"started")
signal.pause()
"""


async def started(launcher: SubprocessLauncher, folder: Path, monkeypatch: pytest.MonkeyPatch, on_sigterm: str) -> None:
    """With one child, which has said what it does about SIGTERM."""
    pipe, worker = folder / "started", folder / "worker"
    os.mkfifo(pipe)
    worker.write_text(WORKER.format(python=sys.executable, on_sigterm=on_sigterm, started=pipe))
    worker.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(worker))
    await launcher.start(TENANT, "run-1", 1)
    assert await asyncio.to_thread(pipe.read_bytes) == b"started"


@pytest.mark.parametrize(
    ("on_sigterm", "stop_seconds", "status"), [("SIG_DFL", BOUND_SECONDS, -15), ("SIG_IGN", 0.1, -9)]
)
async def test_a_child_that_is_stopped_or_killed_is_awaited_and_its_end_is_logged(
    on_sigterm: str,
    stop_seconds: float,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[str] = []
    launcher = SubprocessLauncher(1, lambda: ended.append("run-1"), stop_seconds)
    await started(launcher, tmp_path, monkeypatch, on_sigterm)
    with caplog.at_level(logging.INFO, "sanolith.training"):
        async with asyncio.timeout(BOUND_SECONDS):
            await launcher.stop()
    assert ended == ["run-1"]
    assert not launcher.is_running(TENANT, "run-1")
    assert [vars(record)["status"] for record in caplog.records if record.message == "worker ended"] == [status]


async def test_stopping_without_children_ends_at_once() -> None:
    await SubprocessLauncher(1, lambda: None).stop()
