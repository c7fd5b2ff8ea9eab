"""Verifies a replica's signed eviction receipt, for a purge and for a retirement."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from schemas.base.canonical import sha256_hex
from schemas.base.contract import read_tolerant
from schemas.bus.events import ReplicaEvicted
from schemas.evidence.statements import EVICTION_PREDICATE, EvictionReceipt, eviction_subject, is_about
from schemas.objects.replicas import ReplicaAcknowledgement
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.trust import Verifier
from tenancy.platform.settings import CLOCK_SKEW_SECONDS


def checked_eviction(tenant: str, data: ReplicaEvicted, verifier: Verifier) -> EvictionReceipt:
    """The receipt in the event, if it is signed, about this tenant, replica and cause, and complete.

    Raises :class:`BadSignature` and :class:`Refused`.
    """
    receipt = complete_eviction(verifier.verify(data.receipt, EVICTION_PREDICATE))
    if (receipt.tenant, receipt.replica_id, receipt.cause_id) != (tenant, data.replica_id, data.cause_id):
        raise Refused("foreign-receipt", "refused: the receipt is about another tenant, replica or cause")
    return receipt


def complete_eviction(statement: dict[str, Any]) -> EvictionReceipt:
    """The receipt in a statement whose signature was verified, if it says itself that nothing is left.

    What the engine lists counts too: a replica that does not remember the adapter has nothing else to go by.
    Raises :class:`BadSignature` and :class:`Refused`.
    """
    try:
        receipt = read_tolerant(EvictionReceipt, statement["predicate"])
    except (ValidationError, KeyError):
        raise BadSignature("the receipt is signed, but its statement lacks what such a document must hold") from None
    if not is_about(statement, eviction_subject(receipt.replica_id, receipt.cause_id)):
        raise Refused("foreign-receipt", "refused: the receipt's subject is not the replica and cause it speaks of")
    if not (receipt.local_files_deleted and receipt.slots_overwritten):
        raise Refused("incomplete-eviction", "refused: the receipt says that something of the tenant is left")
    # The cause of a retirement is the adapter's digest; a purge's id is the name of no adapter.
    if {*receipt.evicted, receipt.cause_id}.intersection(receipt.remaining):
        raise Refused("incomplete-eviction", "refused: the replica's engine still lists an adapter that it evicted")
    return receipt


def require_demanded(receipt: EvictionReceipt, since: datetime | None) -> None:
    """Raises :class:`Refused` for a receipt that was signed before the state said what it answers, at ``since``; None
    where the state does not say so. What a replica holds once it has gone on serving, such a receipt does not tell.
    """
    if since is None or receipt.evicted_at < since - timedelta(seconds=CLOCK_SKEW_SECONDS):
        why = "refused: the replica signed it before the tenant's state asked for the eviction, or its clock is behind"
        raise Refused("premature-receipt", why)


def are_accounted_for(found: Iterable[str], noted: Iterable[ReplicaAcknowledgement]) -> bool:
    """Whether it is said of each replica that was found, once, how it left."""
    return sorted(acknowledgement.replica_id for acknowledgement in noted) == sorted(found)


def name_their_receipts(noted: Iterable[ReplicaAcknowledgement]) -> bool:
    """Whether each replica that evicted is given with the digest of what it signed."""
    return all(one.receipt_sha256 is not None for one in noted if one.outcome == "evicted")


def name_their_processes(noted: Iterable[ReplicaAcknowledgement]) -> bool:
    """Whether of each replica that evicted it is said which of its processes did."""
    return all(one.incarnation is not None for one in noted if one.outcome == "evicted")


def came_after(since: datetime, noted: Iterable[ReplicaAcknowledgement]) -> bool:
    """Whether each replica left after ``since``, by clocks that may be apart."""
    return all(since - timedelta(seconds=CLOCK_SKEW_SECONDS) <= one.at for one in noted)


def came_after_their_leases(noted: Iterable[ReplicaAcknowledgement]) -> bool:
    """Whether no replica is counted as expired before its lease had ended, where that is known."""
    return all(one.lease_ended_at is None or one.lease_ended_at <= one.at for one in noted)


def acknowledged(data: ReplicaEvicted, receipt: EvictionReceipt) -> ReplicaAcknowledgement:
    """The acknowledgement as it is kept."""
    return ReplicaAcknowledgement(
        replica_id=data.replica_id,
        outcome="evicted",
        at=receipt.evicted_at,
        incarnation=receipt.incarnation,
        receipt_sha256=sha256_hex(data.receipt),
        prefix_cache_reset=receipt.prefix_cache_reset,
        adapters_evicted=len(receipt.evicted),
        requests_aborted=receipt.requests_aborted,
    )
