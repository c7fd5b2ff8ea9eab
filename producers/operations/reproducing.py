"""Has an adapter trained again, by a process of the training service on this machine."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from schemas.evidence.reproduction import Reproduction, ReproductionProgress
from tenancy.errors import Refused
from tenancy.tenant_id import TenantId

MODULE = "consumers.training.reproduction"


async def reproduced(
    settings: BaseModel, tenant: TenantId, digest: str, report: Callable[[int, int], None]
) -> Reproduction:
    """Train it again and compare. ``report`` is called with the step and the number of steps.

    Whoever stops waiting stops the training. Raises :class:`Refused`.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", MODULE, "--tenant", tenant, "--digest", digest), stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    try:
        async for said in _said(process, _given(settings)):
            if said.found is not None:
                return said.found
            if said.refused is not None:
                raise Refused("not-reproduced", said.refused)
            report(said.step, said.steps)
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    why = f"refused: the training ended with status {status}"
    raise Refused("not-reproduced", f"{why}; it needs the libraries of training on this machine (sanolith[train])")


def _given(settings: BaseModel) -> bytes:
    """What is set, secrets too, which no other process sees on standard input."""

    def plain(value: Any) -> str:
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    set_here = {name: getattr(settings, name) for name in settings.model_fields_set}
    return json.dumps({name: value for name, value in set_here.items() if value is not None}, default=plain).encode()


async def _said(process: Process, given: bytes) -> AsyncIterator[ReproductionProgress]:
    """What the process says once it has its settings, to its end. What a library prints is passed over."""
    if process.stdin is None or process.stdout is None:
        return
    process.stdin.write(given)
    process.stdin.close()
    async for line in process.stdout:
        with suppress(ValidationError):
            yield ReproductionProgress.model_validate_json(line)
