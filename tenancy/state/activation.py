"""Activates and rolls back adapters: pure changes of a tenant's state, for the consumer and for operators alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Literal

from schemas.bus.events import AdapterActivated, AdapterRetired, AdapterRolledBack, EventData
from schemas.objects.state import AdapterState, CanaryState, EndedCanary, OutboxEntry, TenantState
from tenancy.errors import Refused
from tenancy.state.registry import Change, require_active, with_events

NewEntry = Callable[[EventData], OutboxEntry]


def activated(
    digest: str,
    entry: NewEntry,
    requested_by: str | None = None,
    *,
    archived: AdapterState | None = None,
    reason_code: str | None = None,
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
            reason_code=reason_code,
        )
        return with_events(_with_active(state, digest), entry(event))

    return change


def canaried(
    digest: str,
    percent: int,
    entry: NewEntry,
    requested_by: str | None = None,
    *,
    archived: AdapterState | None = None,
) -> Change:
    """Let a ready adapter answer a share of the tenant's conversations, beside the active one or the base model.

    Raises :class:`Refused` for the active adapter itself, and as :func:`activated`.
    """

    def change(state: TenantState) -> TenantState:
        require_active(state)
        state = _with_known(state, digest, archived)
        _require_ready(state, digest)
        if state.active_adapter == digest:
            raise Refused("already-active", "refused: the adapter answers all of the tenant's requests already")
        now = state.canary if state.canary is not None and state.canary.adapter_digest == digest else None
        if now is not None and now.percent == percent:
            return state
        event = AdapterActivated(
            adapter_digest=digest,
            previous_digest=state.active_adapter,
            activation=state.activations + 1,
            requested_by=requested_by,
            canary_percent=percent,
        )
        told = entry(event)
        # With another share it is the same canary, which goes on being compared.
        canary = (
            CanaryState(adapter_digest=digest, percent=percent, activation=event.activation, began_at=told.time)
            if now is None
            else now.evolve(percent=percent)
        )
        adapters = {**state.adapters, digest: state.adapters[digest].evolve(rolled_back=False)}
        changed = state.evolve(canary=canary, adapters=adapters, activations=state.activations + 1)
        return with_events(changed, told)

    return change


def promoted(entry: NewEntry, requested_by: str | None = None, *, expected: str | None = None) -> Change:
    """Make the canary the active adapter. Raises :class:`Refused` where there is none, or another than expected."""

    def change(state: TenantState) -> TenantState:
        require_active(state)
        if state.canary is None or expected not in (None, state.canary.adapter_digest):
            raise Refused("no-canary", "refused: the tenant has no such canary; `sano activate --canary` begins one")
        return activated(state.canary.adapter_digest, entry, requested_by)(state)

    return change


def judged(canary: CanaryState, decision: Literal["promote", "roll-back"], reason_code: str, entry: NewEntry) -> Change:
    """End this very canary as the comparison with the active adapter decided; another one is left as it is."""

    def change(state: TenantState) -> TenantState:
        require_active(state)
        if state.canary is None or state.canary.activation != canary.activation:
            return state
        digest = canary.adapter_digest
        if decision == "promote":
            changed = activated(digest, entry, reason_code=reason_code)(state)
        else:
            changed = _without_canary(state, entry, reason_code=reason_code)
        ended = EndedCanary(
            adapter_digest=digest,
            activation=canary.activation,
            decision=decision,
            reason_code=reason_code,
            at=changed.outbox[-1].time,
        )
        return changed.evolve(ended_canary=ended)

    return change


def rolled_back(
    digest: str | None, entry: NewEntry, requested_by: str | None = None, *, archived: AdapterState | None = None
) -> Change:
    """Return to ``digest``, or to the adapter that was active before the present one.

    Without an earlier one the tenant returns to the base model; where ``digest`` is active nothing changes. What a
    rollback leaves, and every adapter that last became active after the one returned to, is not returned to by a later
    one without ``digest``: that goes further back each time. An archived adapter is further back than all others.
    While there is a canary it ends that, and the active adapter stays. Raises :class:`Refused` when none is active.
    """

    def change(state: TenantState) -> TenantState:
        require_active(state)
        if state.canary is not None and digest in (None, state.active_adapter):
            return _without_canary(state, entry, requested_by)
        if state.active_adapter is None:
            raise Refused("nothing-active", "refused: the tenant has no active adapter to roll back from")
        target = digest or next(reversed(earlier_adapters(state)), None)
        left = _active_after(state, target)
        if digest is not None:
            state = _with_known(state, digest, archived)
            _require_ready(state, digest)
        if state.active_adapter == digest:
            return state
        event = AdapterRolledBack(
            adapter_digest=target,
            previous_digest=state.active_adapter,
            activation=state.activations + 1,
            requested_by=requested_by,
        )
        return with_events(_returned_to(state, target, left), entry(event))

    return change


def retired(
    adapters: Mapping[str, AdapterState], reason_code: str, entry: NewEntry, *, to_follow: Collection[str] = ()
) -> Change:
    """Serve none of these adapters any more; they are given as they are known, in the state or in the archive.

    Where one of them is active the tenant returns to where a rollback would take it, which is none of them, nor of
    those that are ``to_follow`` by further swaps.
    """

    def change(state: TenantState) -> TenantState:
        require_active(state)
        known = {digest: state.adapters.get(digest, adapter) for digest, adapter in adapters.items()}
        going = {digest: adapter for digest, adapter in known.items() if adapter.status != "retired"}
        if not going:
            return state
        told = {digest: entry(AdapterRetired(adapter_digest=digest, reason_code=reason_code)) for digest in going}
        gone = {
            digest: adapter.evolve(status="retired", retired_at=told[digest].time) for digest, adapter in going.items()
        }
        changed = state.evolve(adapters={**state.adapters, **gone})
        returned: list[OutboxEntry] = []
        if changed.canary is not None and changed.canary.adapter_digest in gone:
            changed = _without_canary(changed, entry)
        if state.active_adapter in gone:
            earlier = (past for past in reversed(earlier_adapters(changed)) if past not in to_follow)
            target = next(earlier, None)
            event = AdapterRolledBack(
                adapter_digest=target,
                previous_digest=state.active_adapter or "",
                activation=changed.activations + 1,
            )
            returned.append(entry(event))
            changed = _returned_to(changed, target, _active_after(changed, target))
        return with_events(changed, *returned, *(told[digest] for digest in sorted(told)))

    return change


def earlier_adapters(state: TenantState) -> list[str]:
    """What a rollback may return to by itself, the latest last."""
    return [
        past
        for past in state.adapter_history
        if past != state.active_adapter
        and state.adapters[past].status == "ready"
        and not state.adapters[past].rolled_back
    ]


def _active_after(state: TenantState, target: str | None) -> list[str]:
    """Of what a rollback may return to by itself, what last became active after ``target``.

    The history has that order. What is not in the state, an archived adapter or the base model, was active before all
    of it; what is in the state but not in the history was never active, so that nothing came after it.
    """
    earlier = earlier_adapters(state)
    if target not in state.adapters:
        return earlier
    if target not in state.adapter_history:
        return []
    since = state.adapter_history[state.adapter_history.index(target) + 1 :]
    return [past for past in earlier if past in since]


def _returned_to(state: TenantState, target: str | None, between: list[str]) -> TenantState:
    """The state after a rollback. What lies between is left with the active adapter, as if by one step at a time."""
    left = [*between, state.active_adapter] if state.active_adapter is not None else between
    gone = {digest: state.adapters[digest].evolve(rolled_back=True) for digest in left}
    return _with_active(state.evolve(adapters={**state.adapters, **gone}), target)


def _without_canary(
    state: TenantState, entry: NewEntry, requested_by: str | None = None, *, reason_code: str | None = None
) -> TenantState:
    """The state after the end of its canary, which no rollback returns to by itself. Nothing is loaded for it."""
    if state.canary is None:
        return state
    digest = state.canary.adapter_digest
    event = AdapterRolledBack(
        adapter_digest=state.active_adapter,
        previous_digest=digest,
        activation=state.activations + 1,
        requested_by=requested_by,
        reason_code=reason_code,
    )
    adapters = {**state.adapters, digest: state.adapters[digest].evolve(rolled_back=True)}
    ended = state.evolve(canary=None, adapters=adapters, activations=state.activations + 1)
    return with_events(ended, entry(event))


def _with_known(state: TenantState, digest: str, archived: AdapterState | None) -> TenantState:
    if archived is None or digest in state.adapters:
        return state
    return state.evolve(adapters={**state.adapters, digest: archived})


def _require_ready(state: TenantState, digest: str) -> None:
    adapter = state.adapters.get(digest)
    if adapter is None or adapter.status != "ready":
        raise Refused("unknown-adapter", "refused: the tenant has no ready adapter of this digest")


def _with_active(state: TenantState, digest: str | None) -> TenantState:
    """The state with another active adapter. The history keeps every digest that was ever active, latest last."""
    history = tuple(past for past in state.adapter_history if past != state.active_adapter)
    if state.active_adapter is not None:
        history = (*history, state.active_adapter)
    adapters = state.adapters
    if digest is not None:
        adapters = {**adapters, digest: adapters[digest].evolve(rolled_back=False)}
    return state.evolve(
        active_adapter=digest,
        canary=None,
        activations=state.activations + 1,
        adapter_history=history,
        adapters=adapters,
    )
