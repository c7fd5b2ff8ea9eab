"""Activating and rolling back: pure changes of a tenant's state, for the consumer and for operators alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from schemas.events import AdapterActivated, AdapterRetired, AdapterRolledBack, EventData
from schemas.state import AdapterState, OutboxEntry, TenantState
from tenancy.errors import Refused
from tenancy.state import Change, owing, require_active

NewEntry = Callable[[EventData], OutboxEntry]


def activated(
    digest: str, entry: NewEntry, requested_by: str | None = None, *, archived: AdapterState | None = None
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
    digest: str | None, entry: NewEntry, requested_by: str | None = None, *, archived: AdapterState | None = None
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
            target = _latest_earlier(state)
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


def retired(adapters: Mapping[str, AdapterState], reason_code: str, entry: NewEntry) -> Change:
    """Serve none of these adapters any more; they are given as they are known, in the state or in the archive.

    Where one of them is active the tenant returns to the latest of its earlier adapters that is not among them, or to
    the base model.
    """

    def change(state: TenantState) -> TenantState:
        require_active(state)
        known = {digest: state.adapters.get(digest, adapter) for digest, adapter in adapters.items()}
        going = {digest: adapter for digest, adapter in known.items() if adapter.status != "retired"}
        if not going:
            return state
        gone = {digest: adapter.model_copy(update={"status": "retired"}) for digest, adapter in going.items()}
        changed = state.model_copy(update={"adapters": {**state.adapters, **gone}})
        events: list[EventData] = []
        if state.active_adapter in gone:
            target = _latest_earlier(changed)
            events.append(
                AdapterRolledBack(
                    adapter_digest=target,
                    previous_digest=state.active_adapter or "",
                    activation=state.activations + 1,
                )
            )
            changed = _with_active(changed, target)
        events += [AdapterRetired(adapter_digest=digest, reason_code=reason_code) for digest in sorted(gone)]
        return owing(changed, *(entry(event) for event in events))

    return change


def _latest_earlier(state: TenantState) -> str | None:
    earlier = [
        past
        for past in state.adapter_history
        if past != state.active_adapter and state.adapters[past].status == "ready"
    ]
    return earlier[-1] if earlier else None


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
