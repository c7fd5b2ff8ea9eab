"""Placing and releasing legal holds, as changes of the tenant's state.

The decision to destroy is a swap of the same object and requires that no hold is open. So a hold is either placed
before that decision, and then nothing is destroyed, or it is refused: it never comes too late without saying so.
"""

from __future__ import annotations

from datetime import datetime

from schemas.holds import LegalHold
from schemas.state import TenantState
from tenancy.errors import Refused
from tenancy.state import Change


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
        return state.model_copy(update={"holds": (*state.holds, hold)})

    return change


def released(hold_id: str, released_by: str, at: datetime) -> Change:
    """Release one hold; again is no change. The change raises :class:`Refused` for a hold that was never placed."""

    def change(state: TenantState) -> TenantState:
        known = {hold.hold_id: hold for hold in state.holds}
        if hold_id not in known:
            raise Refused("unknown-hold", "refused: the tenant has no hold of this id; `sano tenant show` lists them")
        if not known[hold_id].is_open:
            return state
        ended = known[hold_id].model_copy(update={"released_by": released_by, "released_at": at})
        return state.model_copy(update={"holds": tuple({**known, hold_id: ended}.values())})

    return change


def destruction_decided(purge_id: str, at: datetime) -> Change:
    """The point of no return of this purge; again is no change. The change raises :class:`Held`.

    The fence and each release come before it, in the order of the swaps. Their times are other machines': where one of
    those clocks is ahead, its time is noted here too, or the order would read the other way round for ever.
    """

    def change(state: TenantState) -> TenantState:
        purge = state.purge
        if purge is None or purge.purge_id != purge_id:
            raise Refused("foreign-purge", "refused: a purge of this id is another tenant's; ask again under a new id")
        if state.status == "purged" or purge.destruction_decided_at is not None:
            return state
        if open_holds(state):
            raise Held
        released_at = [hold.released_at for hold in state.holds if hold.released_at is not None]
        decided_at = max([at, purge.fenced_at, *released_at])
        decided = purge.model_copy(update={"destruction_decided_at": decided_at})
        return state.model_copy(update={"purge": decided})

    return change
