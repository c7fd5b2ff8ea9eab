"""Defines what a second training from an adapter's manifest came to."""

from __future__ import annotations

from pydantic import Field

from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId, Sha256Hex, TenantName


class Difference(Contract):
    """Something that the first training was made with and the second one was not: a library, the processor."""

    what: str
    then: str
    now: str


class Reproduction(Contract):
    """A second training on the same set with the same settings, and whether it gave the same bytes."""

    tenant: TenantName
    adapter_digest: Sha256Hex
    run_id: OpaqueId
    is_same: bool = Field(description="weights and configuration have the digests that the signed manifest names")
    weights_sha256: Sha256Hex = Field(description="of the second training")
    config_sha256: Sha256Hex = Field(description="of the second training")
    first_different_step: int | None = Field(description="whose loss is another one; absent: every step's is the same")
    differences: tuple[Difference, ...] = Field(description="PyTorch promises equal bytes only where there are none")
    seconds: float


class ReproductionProgress(Contract):
    """A line of the process that trains: how far it is, what came of it, or why it was refused."""

    step: int = 0
    steps: int = 0
    found: Reproduction | None = None
    refused: str | None = None
