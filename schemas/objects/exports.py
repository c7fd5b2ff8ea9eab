"""Records what an export was decided to hold."""

from __future__ import annotations

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import ReasonCode, Sha256Hex


class ExportDecision(Contract):
    """What an export is of, or why it is refused. Its request is decided upon once, whatever the tenant has later."""

    adapter_digest: Sha256Hex | None = Field(default=None, description="absent: refused")
    refusal_code: ReasonCode | None = Field(default=None, description="absent: granted")
