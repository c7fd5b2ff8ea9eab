"""Requests a training once enough new examples are eligible: pure changes of a tenant's state.

Counting marks an example as counted before the example's record is written, so that a record that exists was
counted. In the one gap that is left, between the swap and the record, a redelivery finds the example in ``fresh`` or
in ``recent`` and does not count it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from schemas.bus.derived_commands import batch_run_id
from schemas.bus.events import TrainingRequested
from schemas.objects.state import FreshExample, OutboxEntry, TenantState
from tenancy.state.registry import Change, require_active, with_events

NewEntry = Callable[[TrainingRequested], OutboxEntry]


def counted(examples: Iterable[FreshExample], entry: NewEntry) -> Change:
    """Count new eligible examples; complete a batch when the policy's number is reached.

    A later version takes the place of an earlier one that is counted, with the consent that it is under.
    """
    added = tuple(examples)

    def change(state: TenantState) -> TenantState:
        require_active(state)
        curation = state.curation
        known = {held.example_id: held.version for held in (*curation.recent, *curation.fresh)}
        new = {example.example_id: example for example in added if example.version > known.get(example.example_id, 0)}
        if not new:
            return state
        replaced = [new.pop(held.example_id, held) for held in curation.fresh]
        fresh = (*replaced, *new.values())
        if len(fresh) < state.policy.min_new_examples:
            return state.evolve(curation=curation.evolve(fresh=fresh))
        return _with_batch(state, fresh, entry)

    return change


def counted_in_turn(examples: Sequence[tuple[FreshExample, NewEntry]]) -> Change:
    """Count new examples, each in its first version, as if each were counted by a swap of its own.

    The state then knows of each that it was counted, whichever batch it is in: their records are written behind this
    one swap.
    """

    def change(state: TenantState) -> TenantState:
        before = require_active(state).curation
        known = {held.example_id: held for held in (*before.recent, *before.fresh)}
        new = [(example, entry) for example, entry in examples if example.example_id not in known]
        if not new:
            return state
        fresh = list(before.fresh)
        for example, entry in new:
            fresh.append(example)
            if len(fresh) >= state.policy.min_new_examples:
                state, fresh = _with_batch(state, tuple(fresh), entry), []
        last = state.curation.recent
        named = {held.example_id for held in (*last, *fresh)}
        earlier = [known.get(held.example_id, held) for held, _ in examples if held.example_id not in named]
        return state.evolve(curation=state.curation.evolve(fresh=tuple(fresh), recent=(*last, *earlier)))

    return change


def _with_batch(state: TenantState, fresh: tuple[FreshExample, ...], entry: NewEntry) -> TenantState:
    """Close the batch. Also where trainings are asked for by hand only: an open one would grow with every approval."""
    batch = state.curation.batches + 1
    curation = state.curation.evolve(fresh=(), recent=fresh, batches=batch)
    closed = state.evolve(curation=curation)
    if not state.policy.automatic_training:
        return closed
    return with_events(closed, entry(TrainingRequested(run_id=batch_run_id(batch), trigger="policy")))


def discounted(event_id: str, is_ineligible: Callable[[FreshExample], bool], *, suspend: bool = False) -> Change:
    """Take what is not eligible any more out of the count. Sets that were frozen earlier must be checked again.

    To be swapped once the records say so: who checks after it must find them.

    With ``suspend`` the examples are kept aside in the same swap, until they are noted to wait for consent.
    """

    def change(state: TenantState) -> TenantState:
        require_active(state)
        curation = state.curation
        taken = tuple(held for held in curation.fresh if is_ineligible(held))
        # Never a value that was there before, also where a late delivery comes again: a set that was frozen under it
        # would not be checked for what others took away in between. The swap writes the next revision.
        update: dict[str, object] = {
            "fresh": tuple(held for held in curation.fresh if not is_ineligible(held)),
            "eligibility_version": f"{event_id}.{state.rev + 1}",
        }
        if suspend:
            update["suspended"] = (*curation.suspended, *taken)
        return state.evolve(curation=curation.evolve(**update))

    return change


def clear_suspended(consent_id: str) -> Change:
    """Forget the suspended examples of a consent, once its record knows that they wait."""

    def change(state: TenantState) -> TenantState:
        require_active(state)
        kept = tuple(held for held in state.curation.suspended if held.consent_id != consent_id)
        if len(kept) == len(state.curation.suspended):
            return state
        return state.evolve(curation=state.curation.evolve(suspended=kept))

    return change
