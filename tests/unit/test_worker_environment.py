"""Workers are told how their compute threads wait for each other, unless the operator says it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from consumers.training.launching.subprocesses import SubprocessLauncher
from tenancy.platform.compute_threads import THREADS
from tenancy.tenant_id import TenantId

NAME = "GOMP_SPINCOUNT"


@pytest.mark.parametrize(("given", "told"), [(None, THREADS[NAME]), ("7", "7")])
async def test_a_worker_is_told_how_long_to_spin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, told: str
) -> None:
    monkeypatch.delenv(NAME, raising=False)
    if given is not None:
        monkeypatch.setenv(NAME, given)
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    worker = tmp_path / "worker"
    worker.write_text(f'#!/bin/sh\necho "${NAME}" > "$OUT"\n')
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))
    ended = asyncio.Event()
    launcher = SubprocessLauncher(1, ended.set)
    await launcher.start(TenantId("t1"), "r1", 1)
    async with asyncio.timeout(30):
        await ended.wait()
    assert (tmp_path / "out").read_text() == f"{told}\n"
