"""Checks the content of a withdrawal's receipt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas.base.contract import read_tolerant
from schemas.evidence.statements import is_about
from schemas.objects.withdrawals import RetiredAdapter, WithdrawalReceipt, withdrawal_subject
from tenancy.errors import BadSignature
from tenancy.evidence.eviction_receipts import (
    are_accounted_for,
    came_after,
    came_after_their_leases,
    name_their_processes,
    name_their_receipts,
)
from tenancy.evidence.verdict import SIGNED, TRUST, Verdict

_SAYS = {
    "not-affected": "its signer states that no adapter's training set contained what was withdrawn",
    "consent-renewed": "its signer states that consent was granted again before any adapter was retired",
    "flagged": "its signer states which adapters contain what was withdrawn; the tenant's policy keeps them",
    "retired": "its signer states that the affected adapters are no longer served, and that their weights were erased "
    "from the tenant's prefix",
}
_LEFT = (
    "its signer states how each replica that was found left each of these adapters: by a signed receipt, whose digest "
    "it names, or by the end of a lease that it could not renew"
)


def checked_withdrawal(path: Path, statement: dict[str, Any]) -> Verdict:
    """What a signed receipt proves. Raises :class:`BadSignature` for one that contradicts itself."""
    held = read_tolerant(WithdrawalReceipt, statement["predicate"])
    if not is_about(statement, withdrawal_subject(held.withdrawal_id)):
        raise BadSignature("the receipt's subject is not the withdrawal that it speaks of")
    for contradiction in _contradictions(held):
        raise BadSignature(contradiction)
    is_retired = held.outcome == "retired"
    return Verdict(
        kind="receipt of a withdrawal",
        facts={
            "tenant": held.tenant,
            "withdrawn": f"consent {held.consent_id}" if held.consent_id else f"example {held.example_id}",
            "at": held.withdrawn_at.isoformat(),
            "outcome": held.outcome,
            "adapters": ", ".join(one.adapter_digest for one in held.affected) or "none",
            "retired": held.retired_at.isoformat() if held.retired_at else "-",
            "replicas": "; ".join(map(_replicas, held.affected)) if is_retired else "-",
            "answered since by": held.replacement or "the base model" if is_retired else "-",
            "closed": held.closed_at.isoformat(),
        },
        proves=(SIGNED, _SAYS[held.outcome], *((_LEFT,) if is_retired else ())),
        does_not_prove=(
            TRUST,
            "that each of these adapters contained what was withdrawn: one whose training set cannot be read counts so",
            "anything about copies that the tenant took away, or about what the example said",
            "that nothing of the example can be inferred from adapters that were trained without it",
        ),
    )


def _contradictions(held: WithdrawalReceipt) -> Iterator[str]:
    """Why the receipt cannot be true, the gravest first."""
    if held.outcome == "retired":
        if not (held.affected and held.weights_erased and held.retired_at):
            yield "the receipt says that adapters were retired, but not which, when, or that their weights were erased"
        for adapter in held.affected:
            yield from _unaccounted(adapter)
    elif held.weights_erased or held.retired_at:
        yield "the receipt says that adapters were retired or erased, but gives another outcome"
    if held.outcome == "not-affected" and held.affected:
        yield "the receipt says that nothing was affected, but lists adapters"
    if (held.example_id is None) == (held.consent_id is None):
        yield "the receipt must be about one example or one consent"


def _unaccounted(adapter: RetiredAdapter) -> Iterator[str]:
    if adapter.replicas_found is None or not are_accounted_for(adapter.replicas_found, adapter.replicas):
        yield "the receipt does not say how each replica that was found left an adapter"
    if not name_their_receipts(adapter.replicas):
        yield "the receipt mentions a replica's own receipt but does not identify it"
    if not name_their_processes(adapter.replicas):
        yield "the receipt does not say which process of a replica signed: one before a restart, perhaps"
    if adapter.retired_at is None or not came_after(adapter.retired_at, adapter.replicas):
        yield "the receipt says that a replica left an adapter before that was retired, or not when that was"
    if not came_after_their_leases(adapter.replicas):
        yield "the receipt counts a replica as expired whose lease had not ended"


def _replicas(adapter: RetiredAdapter) -> str:
    left = ", ".join(f"{noted.replica_id} {noted.outcome}" for noted in adapter.replicas)
    return f"{adapter.adapter_digest}: {left or 'none was found'}"
