"""What a replica's signed acknowledgement of an eviction is worth, for a purge and for a retirement."""

from __future__ import annotations

from schemas.canonical import sha256_hex
from schemas.events import ReplicaEvicted
from schemas.manifests import EVICTION_PREDICATE, EvictionReceipt
from schemas.model import read_tolerant
from schemas.records import ReplicaAcknowledgement
from tenancy.errors import Refused
from tenancy.signing import Verifier


def checked_eviction(tenant: str, data: ReplicaEvicted, verifier: Verifier) -> EvictionReceipt:
    """The receipt in the event, if it is signed, about this tenant, replica and cause, and complete.

    Raises :class:`BadSignature` and :class:`Refused`.
    """
    statement = verifier.verify(data.receipt, EVICTION_PREDICATE)
    receipt = read_tolerant(EvictionReceipt, statement["predicate"])
    if (receipt.tenant, receipt.replica_id, receipt.cause_id) != (tenant, data.replica_id, data.cause_id):
        raise Refused("foreign-receipt", "refused: the receipt is about another tenant, replica or cause")
    if not (receipt.local_files_deleted and receipt.slots_overwritten):
        raise Refused("incomplete-eviction", "refused: the receipt says that something of the tenant is left")
    return receipt


def acknowledged(data: ReplicaEvicted, receipt: EvictionReceipt) -> ReplicaAcknowledgement:
    """The acknowledgement as it is kept."""
    return ReplicaAcknowledgement(
        replica_id=data.replica_id,
        outcome="evicted",
        at=receipt.evicted_at,
        receipt_sha256=sha256_hex(data.receipt),
        adapters_evicted=len(receipt.evicted),
        requests_aborted=receipt.requests_aborted,
    )
