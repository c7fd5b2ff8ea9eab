"""Changes a tenant's policy: pure changes of its state, for the operator's command and for the event alike.

A policy is in force for every decision that reads the state after the swap. An earlier purge or withdrawal keeps its
promise in its own record.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from schemas.base.identifiers import OPAQUE_ID_IN_WORDS, OPAQUE_ID_PATTERN
from schemas.bus.events import PolicyChanged
from schemas.objects.state import TenantState
from schemas.tenant.hyperparameters import Hyperparameters
from schemas.tenant.policy import TenantPolicy
from tenancy.errors import Refused
from tenancy.state.registry import Change, require_active


def policy_with(policy: TenantPolicy, changes: Mapping[str, Any]) -> TenantPolicy:
    """The policy with these fields changed; a hyperparameter goes by its own name too.

    Raises :class:`Refused` for an unknown field and for a value that its field does not take.
    """
    nested = {name: value for name, value in changes.items() if name in Hyperparameters.model_fields}
    flat = {name: value for name, value in changes.items() if name not in nested}
    own = flat.pop("hyperparameters", None)
    if own is not None and not isinstance(own, Mapping):
        raise Refused("bad-policy", "refused: hyperparameters: a mapping of names to values is expected")
    merged = policy.model_dump() | flat
    merged["hyperparameters"] = policy.hyperparameters.model_dump() | dict(own or {}) | nested
    try:
        return TenantPolicy.model_validate(merged)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        is_id = first.get("ctx", {}).get("pattern") == OPAQUE_ID_PATTERN
        why = f"an id is {OPAQUE_ID_IN_WORDS}" if is_id else first["msg"]
        raise Refused("bad-policy", f"refused: {name}: {why}") from None


def require_consistent(policy: TenantPolicy) -> None:
    """Raises :class:`Refused` for a policy whose waits leave no time for what it promises."""
    if not policy.keeps_its_promise:
        raise Refused("bad-policy", "refused: export_wait_days must be less than deletion_sla_days; choose others")


def policy_set(changes: Mapping[str, Any], requested_by: str | None = None) -> Change:
    """Change these fields, as the next version; no change where they are so already. Raises :class:`Refused`."""

    def change(state: TenantState) -> TenantState:
        require_active(state)
        policy = policy_with(state.policy, changes)
        if policy == state.policy:
            return state
        require_consistent(policy)
        return _with(state, PolicyChanged(version=state.policy_version + 1, policy=policy, requested_by=requested_by))

    return change


def policy_taken_over(changed: PolicyChanged) -> Change:
    """Take over the event's policy, if its version is higher than the state's."""

    def change(state: TenantState) -> TenantState:
        require_active(state)
        return _with(state, changed) if changed.version > state.policy_version else state

    return change


def policy_changed(state: TenantState) -> PolicyChanged | None:
    """The event that tells of the policy in force; None for the first, which the onboarding tells."""
    if state.policy_version == 1:
        return None
    return PolicyChanged(version=state.policy_version, policy=state.policy, requested_by=state.policy_set_by)


def _with(state: TenantState, changed: PolicyChanged) -> TenantState:
    update = {
        "policy": changed.policy,
        "policy_version": changed.version,
        "policy_set_by": changed.requested_by,
    }
    return state.evolve(**update)
