"""Checking a withdrawal's receipt for what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from producers.verdict import SIGNED, TRUST, Verdict
from schemas.model import read_tolerant
from schemas.withdrawals import WithdrawalReceipt
from tenancy.errors import BadSignature

_SAYS = {
    "not-affected": "its signer states that no adapter's training set contained what was withdrawn",
    "consent-renewed": "its signer states that consent was granted again before an adapter was retired",
    "flagged": "its signer states which adapters contain what was withdrawn; the tenant's policy leaves them",
    "retired": "its signer states that the affected adapters are served no more, that each replica left them by a "
    "signed acknowledgement or by the end of its lease, and that their weights were erased from the tenant's prefix",
}


def checked_withdrawal(path: Path, statement: dict[str, Any]) -> Verdict:
    """What a signed receipt proves. Raises :class:`BadSignature` for one that contradicts itself."""
    held = read_tolerant(WithdrawalReceipt, statement["predicate"])
    if held.outcome == "retired" and not (held.affected and held.weights_erased and held.retired_at):
        raise BadSignature("the receipt says that adapters were retired, and not which, when, or that they are erased")
    if held.outcome == "not-affected" and held.affected:
        raise BadSignature("the receipt says that nothing was affected, and lists adapters")
    if (held.example_id is None) == (held.consent_id is None):
        raise BadSignature("the receipt must be about one example or one consent")
    return Verdict(
        kind="receipt of a withdrawal",
        facts={
            "tenant": held.tenant,
            "withdrawn": f"consent {held.consent_id}" if held.consent_id else f"example {held.example_id}",
            "at": held.withdrawn_at.isoformat(),
            "outcome": held.outcome,
            "adapters": ", ".join(one.adapter_digest for one in held.affected) or "none",
            "retired": held.retired_at.isoformat() if held.retired_at else "-",
            "answered since by": held.replacement or "the base model" if held.outcome == "retired" else "-",
            "closed": held.closed_at.isoformat(),
        },
        proves=(SIGNED, _SAYS[held.outcome]),
        does_not_prove=(
            TRUST,
            "anything about copies that the tenant took away, nor about what the example said",
            "that nothing of the example can be inferred from adapters that were trained without it",
        ),
    )
