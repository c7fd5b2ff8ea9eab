"""Defines legal holds: while one is open, nothing of the tenant is destroyed, even past its deletion SLA."""

from __future__ import annotations

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, ReasonCode, Sha256Hex
from schemas.base.timestamps import Timestamp


class LegalHold(Contract):
    """One legal hold. A tenant may be under several, each for its own matter and released separately."""

    hold_id: OpaqueId
    reason_code: ReasonCode
    placed_by: OpaqueId
    placed_at: Timestamp
    erasures_decided: tuple[Sha256Hex, ...] = Field(
        default=(),
        description="retired adapters whose weights were already being erased when the hold was placed: too late",
    )
    texts_being_erased: int = Field(
        default=0, ge=0, description="examples whose texts were already being erased when the hold was placed: too late"
    )
    released_by: OpaqueId | None = None
    released_at: Timestamp | None = None

    @property
    def is_open(self) -> bool:
        return self.released_at is None
