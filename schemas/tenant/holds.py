"""Legal holds: while one is open nothing of the tenant is destroyed, however long its deletion SLA has passed."""

from __future__ import annotations

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, ReasonCode, Sha256Hex
from schemas.base.timestamps import Timestamp


class LegalHold(Contract):
    """One hold. A tenant may be under several, each for a matter of its own and released by itself."""

    hold_id: OpaqueId
    reason_code: ReasonCode
    placed_by: OpaqueId
    placed_at: Timestamp
    erasures_decided: tuple[Sha256Hex, ...] = Field(
        default=(),
        description="retired adapters whose weights were being erased when it was placed: it came too late for these",
    )
    texts_being_erased: int = Field(
        default=0, ge=0, description="examples of which texts were being erased when it was placed: too late for these"
    )
    released_by: OpaqueId | None = None
    released_at: Timestamp | None = None

    @property
    def is_open(self) -> bool:
        return self.released_at is None
