"""Defines the record of an export's decision."""

from __future__ import annotations

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import ReasonCode, Sha256Hex


class ExportDecision(Contract):
    """Which adapter an export holds, or why it is refused. A request is decided once, whatever adapters come later."""

    adapter_digest: Sha256Hex | None = Field(default=None, description="absent: refused")
    refusal_code: ReasonCode | None = Field(default=None, description="absent: granted")
