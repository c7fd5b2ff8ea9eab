"""The command, on a tenancy in memory."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from producers.cli.main import app
from producers.cli.platform import Platform
from producers.settings import OperatorSettings
from tenancy.bootstrap import Tenancy
from tests.unit.cli.command import TENANT, UNUSED_PORT, Sano
from tests.unit.operator_parts import Parts, onboarded_parts
from tests.unit.source_parts import secret_file


@pytest.fixture(autouse=True)
def takes_interrupts() -> Iterator[None]:
    """Also where the tests were started in the background, by a shell whose children ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A source's key."""
    return secret_file(tmp_path / "source.key")


@pytest.fixture
def parts() -> Parts:
    return asyncio.run(onboarded_parts(TENANT))


@pytest.fixture
def settings(parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OperatorSettings:
    monkeypatch.chdir(tmp_path)
    return OperatorSettings(
        kafka_bootstrap_servers=UNUSED_PORT,
        s3_bucket="bucket",
        s3_endpoint_url=f"http://{UNUSED_PORT}",
        **parts.keys.write(tmp_path),
        token_key=str(tmp_path / "token.pem"),
        event_key=str(tmp_path / "event.pem"),
        trust_root_key=str(tmp_path / "root.pem"),
    )


@pytest.fixture
def sano(parts: Parts, settings: OperatorSettings) -> Sano:
    """Run the command on the tenancy in memory."""

    @asynccontextmanager
    async def commanding(_: OperatorSettings) -> AsyncIterator[Tenancy]:
        yield parts.tenancy

    def run(*arguments: str, **changes: Any) -> Result:
        here = Platform(lambda: settings.model_copy(update=changes), lambda _: nullcontext(parts.tenancy), commanding)
        return CliRunner().invoke(app, arguments, obj=here)

    return run
