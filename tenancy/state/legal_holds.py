"""Places and releases legal holds, as changes of the tenant's state.

Each decision to destroy is a swap of the same object and requires that no hold is open. So a hold is placed before
that decision, and nothing is destroyed, or its placing reports that it is too late: by a refusal where all of the
tenant's data is to be destroyed, and in the hold itself where weights of retired adapters are. It is never silently
late.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Literal

from schemas.objects.state import TenantState
from schemas.tenant.holds import LegalHold
from tenancy.errors import ContendedState, Refused
from tenancy.state.registry import Change, require_active

MOST_ERASURES = 64
"""Of so many adapters the weights, and of so many examples texts, are being erased at once, at most: each is in the
state until it is done."""


class Held(Exception):
    """A legal hold is open; nothing of the tenant may be destroyed."""


class TooLateToHold(Refused):
    """The destruction was decided, and has begun."""

    def __init__(self) -> None:
        super().__init__(
            "destruction-decided",
            "refused: the destruction of this tenant's data was decided already; `sano purges` shows how far it is",
        )


def open_holds(state: TenantState) -> tuple[LegalHold, ...]:
    return tuple(hold for hold in state.holds if hold.is_open)


def placed(hold: LegalHold) -> Change:
    """Place ``hold``; again is no change. The change raises :class:`TooLateToHold`, and :class:`Refused` for an id
    that an earlier hold has.
    """

    def change(state: TenantState) -> TenantState:
        for known in state.holds:
            if known.hold_id == hold.hold_id:
                if not known.is_open or known.reason_code != hold.reason_code:
                    raise Refused("hold-exists", f"refused: the tenant had another hold {hold.hold_id}; name a new one")
                return state
        if state.status == "purged" or (state.purge is not None and state.purge.destruction_decided_at is not None):
            raise TooLateToHold
        told = hold.evolve(erasures_decided=state.erasures, texts_being_erased=len(state.text_erasures))
        return state.evolve(holds=(*state.holds, told))

    return change


def released(hold_id: str, released_by: str, at: datetime) -> Change:
    """Release one hold; again is no change. The change raises :class:`Refused` for a hold that was never placed.

    The clock of who placed it may be ahead of ours: it is not noted as released before it was placed.
    """

    def change(state: TenantState) -> TenantState:
        known = {hold.hold_id: hold for hold in state.holds}
        if hold_id not in known:
            raise Refused("unknown-hold", "refused: the tenant has no hold of this id; `sano tenant show` lists them")
        if not known[hold_id].is_open:
            return state
        hold = known[hold_id]
        ended = hold.evolve(released_by=released_by, released_at=max(at, hold.placed_at))
        return state.evolve(holds=tuple({**known, hold_id: ended}.values()))

    return change


def destruction_decided(purge_id: str, at: datetime) -> Change:
    """The point of no return of this purge; again is no change. The change raises :class:`Held`.

    The fence and each release come before it, in the order of the swaps. Their times are other machines': where one of
    those clocks is ahead, its time is noted here too, or the order would read the other way round for ever.
    """

    def change(state: TenantState) -> TenantState:
        purge = state.purge
        if purge is None or purge.purge_id != purge_id:
            raise Refused("foreign-purge", "refused: another purge fenced the tenant; this one decides nothing")
        if state.status == "purged" or purge.destruction_decided_at is not None:
            return state
        if open_holds(state):
            raise Held
        released_at = [hold.released_at for hold in state.holds if hold.released_at is not None]
        decided_at = max([at, purge.fenced_at, *released_at])
        decided = purge.evolve(destruction_decided_at=decided_at)
        return state.evolve(purge=decided, erasures=(), text_erasures=(), texts_kept=0)

    return change


def erasure_decided(digests: Collection[str]) -> Change:
    """The point of no return for the weights of retired adapters; again is no change, also under a hold that came
    after it. The change raises :class:`Held`, and :class:`ContendedState` while too many others are under way.
    """
    return _decided("erasures", digests)


def erasure_done(digests: Collection[str]) -> Change:
    """The weights of these adapters are erased everywhere; again is no change."""
    return _done("erasures", digests)


def text_erasures_decided(example_ids: Collection[str]) -> Change:
    """The point of no return for texts of these examples. Raises as :func:`erasure_decided` does."""
    return _decided("text_erasures", example_ids)


def text_erasures_done(example_ids: Collection[str]) -> Change:
    """What was decided of these examples is erased; again is no change."""
    return _done("text_erasures", example_ids)


def texts_kept(example_id: str) -> Change:
    """Texts of this example are put aside under a hold, which is noted; if none is open any more, it is decided."""

    def change(state: TenantState) -> TenantState:
        try:
            return text_erasures_decided([example_id])(state)
        except Held:
            return state.evolve(texts_kept=state.texts_kept + 1)

    return change


def texts_released(seen: int) -> Change:
    """All that was put aside is erased, unless a hold is open or more was put aside since ``seen`` was read."""

    def change(state: TenantState) -> TenantState:
        if state.texts_kept != seen or open_holds(state):
            return state
        return state.evolve(texts_kept=0)

    return change


def _decided(which: Literal["erasures", "text_erasures"], ids: Collection[str]) -> Change:
    def change(state: TenantState) -> TenantState:
        require_active(state)
        under_way: tuple[str, ...] = getattr(state, which)
        added = tuple(one for one in ids if one not in under_way)
        if not added:
            return state
        if open_holds(state):
            raise Held
        if len(under_way) + len(added) > MOST_ERASURES:
            raise ContendedState(f"{len(under_way)} erasures of the tenant are under way already")
        return state.evolve(**({which: (*under_way, *added)}))

    return change


def _done(which: Literal["erasures", "text_erasures"], ids: Collection[str]) -> Change:
    def change(state: TenantState) -> TenantState:
        under_way: tuple[str, ...] = getattr(state, which)
        left = tuple(one for one in under_way if one not in ids)
        return state if left == under_way else state.evolve(**({which: left}))

    return change
