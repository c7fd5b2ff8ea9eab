"""Activations and rollbacks in any order: what they come to, and that their events tell it again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import AdapterActivated, AdapterRolledBack, EventData
from schemas.state import AdapterState, OutboxEntry, TenantState
from tenancy.activation import activated, retired, rolled_back
from tenancy.errors import Refused
from tenancy.state import entry_data

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DIGESTS = [letter * 64 for letter in "abcd"]

Step = tuple[str, str | None]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["activate", "roll back", "retire"]), st.sampled_from(DIGESTS)),
        st.just(("roll back", None)),
    ),
    max_size=14,
)


def entry(data: EventData) -> OutboxEntry:
    return OutboxEntry(event_type=data.type, data=data.model_dump(mode="json"), time=NOW)


def adapters() -> dict[str, AdapterState]:
    return {
        digest: AdapterState(
            status="ready",
            run_id=f"run-{number}",
            fence=1,
            training_set_id="0" * 64,
            base_model_digest="0" * 64,
            size_bytes=1,
            published_at=NOW + timedelta(minutes=number),
        )
        for number, digest in enumerate(DIGESTS)
    }


def lived(steps: Sequence[Step]) -> TenantState:
    state = TenantState(tenant="t1", nonce="n", adapters=adapters())
    for what, digest in steps:
        with suppress(Refused):
            if what == "roll back":
                state = rolled_back(digest, entry)(state)
            elif digest is not None and what == "activate":
                state = activated(digest, entry)(state)
            elif digest is not None:
                state = retired({digest: state.adapters[digest]}, "withdrawn-example", entry)(state)
    return state


def told_again(state: TenantState) -> TenantState:
    """As a rebuilding does: every event of an activation or a rollback, by the digest that it names."""
    again = TenantState(tenant="t1", nonce="n", adapters=adapters())
    for owed in state.outbox:
        data = entry_data(owed)
        if isinstance(data, AdapterActivated):
            again = activated(data.adapter_digest, entry)(again)
        elif isinstance(data, AdapterRolledBack):
            again = rolled_back(data.adapter_digest, entry)(again)
    return again


@given(STEPS)
def test_rolling_back_again_and_again_visits_nothing_twice_and_ends_at_the_base_model(steps: list[Step]) -> None:
    state = lived(steps)
    visited: list[str] = []
    while state.active_adapter is not None:
        assert state.active_adapter not in visited
        visited.append(state.active_adapter)
        state = rolled_back(None, entry)(state)
        assert state.active_adapter is None or state.adapters[state.active_adapter].status == "ready"


@given(STEPS, st.sampled_from(DIGESTS))
def test_the_same_command_again_is_no_change(steps: list[Step], digest: str) -> None:
    with suppress(Refused):
        for change in (rolled_back(digest, entry), activated(digest, entry)):
            state = change(lived(steps))
            assert change(state) is state


@given(STEPS.map(lambda steps: [step for step in steps if step[0] != "retire"]))
def test_the_events_tell_the_same_again(steps: list[Step]) -> None:
    state = lived(steps)
    again = told_again(state)
    assert (again.active_adapter, again.adapters, again.adapter_history) == (
        state.active_adapter,
        state.adapters,
        state.adapter_history,
    )


@given(STEPS)
def test_one_rollback_to_an_adapter_is_as_many_without_as_it_takes(steps: list[Step]) -> None:
    state = lived(steps)
    single = state
    for _ in DIGESTS:
        if single.active_adapter is None:
            return
        single = rolled_back(None, entry)(single)
        if single.active_adapter is not None:
            at_once = rolled_back(single.active_adapter, entry)(state)
            assert at_once.adapters == single.adapters
            assert at_once.active_adapter == single.active_adapter
