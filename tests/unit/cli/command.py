"""What the command is run with, and what it printed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import Result

from tenancy.evidence.signing import Signer
from tenancy.tenant_id import TenantId

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


def public_pem(signer: Signer) -> bytes:
    return signer.private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
