"""What the command is run with, and what it printed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from typing import Any

from typer.testing import Result

from schemas.evidence.purposes import Purpose
from tenancy.tenant_id import TenantId
from tests.fixtures.all_keys import AllKeys

TENANT = TenantId("t1")
UNUSED_PORT = "127.0.0.1:1"

Sano = Callable[..., Result]


def shape(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def error_line(result: Result, status: int) -> str:
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


async def interrupted(*_: object, **__: object) -> None:
    """In the place of something that takes long: Ctrl-C amid it."""
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.Event().wait()


def public_pem(keys: AllKeys, purpose: Purpose = Purpose.CERTIFICATE) -> bytes:
    return keys.private[purpose].public_key.pem()
