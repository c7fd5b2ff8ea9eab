"""Activating and rolling back: pure changes of a tenant's state, for the consumer and for operators alike."""

from __future__ import annotations

from collections.abc import Callable

from schemas.events import AdapterActivated, AdapterRolledBack, EventData
from schemas.state import AdapterState, OutboxEntry, TenantState
from tenancy.errors import Refused
from tenancy.state import Change, owing, require_active

NewEntry = Callable[[EventData], OutboxEntry]


def activated(
    digest: str, entry: NewEntry, *, archived: AdapterState | None = None, requested_by: str | None = None
) -> Change:
    """Make a ready adapter the active one. Raises :class:`Refused` when the tenant has no such adapter.

    ``archived`` is the adapter's record where it was moved out of the state: it comes back in by the same swap.
    """

    def change(state: TenantState) -> TenantState:
        require_active(state)
        state = _with_known(state, digest, archived)
        _require_ready(state, digest)
        if state.active_adapter == digest:
            return state
        event = AdapterActivated(
            adapter_digest=digest,
            previous_digest=state.active_adapter,
            activation=state.activations + 1,
            requested_by=requested_by,
        )
        return owing(_with_active(state, digest), entry(event))

    return change


def rolled_back(
    digest: str | None, entry: NewEntry, *, archived: AdapterState | None = None, requested_by: str | None = None
) -> Change:
    """Return to ``digest``, or to the adapter that was active before the present one.

    Without an earlier one the tenant returns to the base model. Raises :class:`Refused` when none is active.
    """

    def change(state: TenantState) -> TenantState:
        require_active(state)
        if state.active_adapter is None:
            raise Refused("nothing-active", "refused: the tenant has no active adapter to roll back from")
        target = digest
        if target is None:
            earlier = [
                past
                for past in state.adapter_history
                if past != state.active_adapter and state.adapters[past].status == "ready"
            ]
            target = earlier[-1] if earlier else None
        else:
            state = _with_known(state, target, archived)
            _require_ready(state, target)
        event = AdapterRolledBack(
            adapter_digest=target,
            previous_digest=state.active_adapter,
            activation=state.activations + 1,
            requested_by=requested_by,
        )
        return owing(_with_active(state, target), entry(event))

    return change


def _with_known(state: TenantState, digest: str, archived: AdapterState | None) -> TenantState:
    if archived is None or digest in state.adapters:
        return state
    return state.model_copy(update={"adapters": {**state.adapters, digest: archived}})


def _require_ready(state: TenantState, digest: str) -> None:
    adapter = state.adapters.get(digest)
    if adapter is None or adapter.status != "ready":
        raise Refused("unknown-adapter", "refused: the tenant has no ready adapter of this digest")


def _with_active(state: TenantState, digest: str | None) -> TenantState:
    """The state with another active adapter. The history keeps every digest that was ever active, latest last."""
    history = tuple(past for past in state.adapter_history if past != state.active_adapter)
    if state.active_adapter is not None:
        history = (*history, state.active_adapter)
    return state.model_copy(
        update={"active_adapter": digest, "activations": state.activations + 1, "adapter_history": history}
    )
