"""Activations and rollbacks in any order: what they come to, and that their events tell it again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.bus.events import AdapterActivated, AdapterRolledBack, EventData
from schemas.objects.state import AdapterState, OutboxEntry, TenantState
from tenancy.errors import Refused
from tenancy.state import archive
from tenancy.state.activation import activated, canaried, earlier_adapters, promoted, retired, rolled_back
from tenancy.state.registry import entry_data

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DIGESTS = [letter * 64 for letter in "abcd"]

Step = tuple[str, str | None]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["activate", "canary", "roll back", "retire"]), st.sampled_from(DIGESTS)),
        st.sampled_from([("roll back", None), ("promote", None)]),
    ),
    max_size=14,
)
WITH_ARCHIVE = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["activate", "canary", "roll back", "retire"]), st.sampled_from(DIGESTS)),
        st.sampled_from([("roll back", None), ("promote", None), ("tidy", None)]),
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
            fence=1 + number,
            training_set_id="0" * 64,
            base_model_digest="0" * 64,
            size_bytes=1,
            published_at=NOW,
        )
        for number, digest in enumerate(DIGESTS)
    }


def lived(steps: Sequence[Step]) -> TenantState:
    state = TenantState(tenant="t1", nonce="n", adapters=adapters())
    for what, digest in steps:
        with suppress(Refused):
            if what == "roll back":
                state = rolled_back(digest, entry)(state)
            elif what == "promote":
                state = promoted(entry)(state)
            elif digest is not None and what == "canary":
                state = canaried(digest, 10, entry)(state)
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
        if isinstance(data, AdapterActivated) and data.canary_percent is not None:
            again = canaried(data.adapter_digest, data.canary_percent, entry)(again)
        elif isinstance(data, AdapterActivated):
            again = activated(data.adapter_digest, entry)(again)
        elif isinstance(data, AdapterRolledBack):
            again = rolled_back(data.adapter_digest, entry)(again)
    return again


def settled(state: TenantState) -> TenantState:
    """The state without a canary."""
    return state if state.canary is None else rolled_back(None, entry)(state)


@given(STEPS)
@example([("activate", DIGESTS[0]), ("canary", DIGESTS[1])])
def test_rolling_back_again_and_again_visits_nothing_twice_and_ends_at_the_base_model(steps: list[Step]) -> None:
    state = settled(lived(steps))
    visited: list[str] = []
    while state.active_adapter is not None:
        assert state.active_adapter not in visited
        visited.append(state.active_adapter)
        state = rolled_back(None, entry)(state)
        assert state.active_adapter is None or state.adapters[state.active_adapter].status == "ready"


@given(STEPS, st.sampled_from(DIGESTS))
def test_the_same_command_again_is_no_change(steps: list[Step], digest: str) -> None:
    with suppress(Refused):
        for change in (rolled_back(digest, entry), canaried(digest, 5, entry), activated(digest, entry)):
            state = change(lived(steps))
            assert change(state) is state


@given(STEPS.map(lambda steps: [step for step in steps if step[0] != "retire"]))
def test_the_events_tell_the_same_again(steps: list[Step]) -> None:
    state = lived(steps)
    again = told_again(state)
    assert (again.active_adapter, again.canary, again.adapters, again.adapter_history) == (
        state.active_adapter,
        state.canary,
        state.adapters,
        state.adapter_history,
    )


@given(STEPS)
def test_one_rollback_to_an_adapter_is_as_many_without_as_it_takes(steps: list[Step]) -> None:
    state = settled(lived(steps))
    single = state
    for _ in DIGESTS:
        if single.active_adapter is None:
            return
        single = rolled_back(None, entry)(single)
        if single.active_adapter is not None:
            at_once = rolled_back(single.active_adapter, entry)(state)
            assert at_once.adapters == single.adapters
            assert at_once.active_adapter == single.active_adapter


@dataclass
class Life:
    """A tenant's state beside its archive, and what neither keeps: when each adapter became active, by its digest."""

    kept: int
    state: TenantState = field(default_factory=lambda: TenantState(tenant="t1", nonce="n", adapters=adapters()))
    archived: dict[str, AdapterState] = field(default_factory=dict)
    became_active: dict[str, int] = field(default_factory=dict)

    def take(self, what: str, digest: str | None) -> None:
        before, known = self.state, {**self.archived, **self.state.adapters}
        with suppress(Refused):
            if what == "tidy":
                self.tidy()
            elif what == "roll back":
                self.state = rolled_back(digest, entry, archived=self.archived.get(digest or ""))(before)
            elif what == "promote":
                self.state = promoted(entry)(before)
            elif digest is not None and what == "canary":
                self.state = canaried(digest, 10, entry, archived=self.archived.get(digest))(before)
            elif digest is not None and what == "activate":
                self.state = activated(digest, entry, archived=self.archived.get(digest))(before)
            elif digest is not None:
                self.state = retired({digest: known[digest]}, "withdrawn-example", entry)(before)
        if self.state.active_adapter not in (None, before.active_adapter):
            self._note(before, self.state.active_adapter or "", is_return=what not in ("activate", "promote"))

    def _note(self, before: TenantState, digest: str, *, is_return: bool) -> None:
        # Where one is left, its time is that of its latest activation, also where that was a return to it; one that
        # was just returned to has still the time of the activation before.
        now = 2 * self.state.activations
        if before.active_adapter is not None:
            self.became_active[before.active_adapter] = now - 1
        if not is_return:
            self.became_active[digest] = now
        self.became_active.setdefault(digest, now)

    def tidy(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(archive, "KEPT_ADAPTERS", self.kept)
            gone = archive.surplus_adapters(self.state)
        held = self.state.adapters
        self.archived |= {digest: held[digest] for digest in gone}
        left = {digest: adapter for digest, adapter in held.items() if digest not in gone}
        history = tuple(past for past in self.state.adapter_history if past not in gone)
        self.state = self.state.evolve(adapters=left, adapter_history=history)


IN_TURN: list[Step] = [("activate", digest) for digest in DIGESTS]


@given(WITH_ARCHIVE, st.sampled_from([1, 2]))
@example([*IN_TURN, ("tidy", None), ("roll back", DIGESTS[0])], 1)
@example([*IN_TURN, ("roll back", DIGESTS[1]), ("activate", DIGESTS[3]), ("roll back", DIGESTS[2])], 1)
def test_a_rollback_leaves_nothing_to_return_to_that_became_active_after_the_one_returned_to(
    steps: list[Step], kept: int
) -> None:
    life = Life(kept)
    for step in steps:
        life.take(*step)
        if life.state.active_adapter is not None:
            present = life.became_active[life.state.active_adapter]
            assert all(life.became_active[past] < present for past in earlier_adapters(life.state)), step


@given(WITH_ARCHIVE, st.sampled_from([1, 2]))
@example([("activate", DIGESTS[0]), ("activate", DIGESTS[3])], 1)
def test_what_moves_to_the_archive_does_not_change_what_a_rollback_returns_to(steps: list[Step], kept: int) -> None:
    life = Life(kept)
    for step in steps:
        life.take(*step)
    life.state = settled(life.state)
    if life.state.active_adapter is None:
        return
    target = rolled_back(None, entry)(life.state).active_adapter
    life.tidy()
    assert rolled_back(None, entry)(life.state).active_adapter == target
    assert len(life.state.adapters) <= 2 * kept + 1


@given(WITH_ARCHIVE, st.sampled_from([1, 2]))
def test_rolling_back_and_tidying_again_and_again_visits_nothing_twice(steps: list[Step], kept: int) -> None:
    life = Life(kept)
    for step in steps:
        life.take(*step)
    life.state = settled(life.state)
    visited: list[str] = []
    while life.state.active_adapter is not None:
        assert life.state.active_adapter not in visited
        visited.append(life.state.active_adapter)
        life.take("roll back", None)
        life.tidy()


def test_what_was_never_active_is_left_for_the_one_that_was_active_before_it() -> None:
    """An adapter that is returned to though it never was active comes after those that were."""
    life = Life(16)
    for digest in (DIGESTS[0], DIGESTS[2]):
        life.take("activate", digest)
    life.take("roll back", DIGESTS[1])
    life.take("roll back", None)
    assert life.state.active_adapter == DIGESTS[0]


def test_a_retirement_by_several_swaps_returns_to_none_of_those_that_are_to_follow() -> None:
    life = Life(16)
    for step in IN_TURN:
        life.take(*step)
    going = {digest: life.state.adapters[digest] for digest in DIGESTS[1:]}
    first = {DIGESTS[3]: going[DIGESTS[3]]}
    state = retired(first, "withdrawn-example", entry, to_follow=going)(life.state)
    assert state.active_adapter == DIGESTS[0]
    state = retired(going, "withdrawn-example", entry, to_follow=going)(state)
    assert (state.active_adapter, [state.adapters[digest].status for digest in DIGESTS]) == (
        DIGESTS[0],
        ["ready", *["retired"] * 3],
    )


ONE, TWO, THREE = DIGESTS[:3]


def answering(state: TenantState) -> tuple[str | None, str | None]:
    return state.active_adapter, None if state.canary is None else state.canary.adapter_digest


def latest(state: TenantState) -> EventData:
    return entry_data(state.outbox[-1])


@pytest.mark.parametrize("active", [ONE, None])
def test_a_canary_leaves_the_active_adapter_and_its_end_is_one_swap(active: str | None) -> None:
    before = lived([] if active is None else [("activate", active)])
    state = canaried(TWO, 10, entry, "op-1")(before)
    assert answering(state) == (active, TWO)
    assert latest(state) == AdapterActivated(
        adapter_digest=TWO,
        previous_digest=active,
        activation=before.activations + 1,
        requested_by="op-1",
        canary_percent=10,
    )
    wider = canaried(TWO, 50, entry)(state)
    assert wider.canary is not None and wider.canary.percent == 50
    ended = rolled_back(None, entry, "op-1")(wider)
    assert answering(ended) == (active, None)
    assert latest(ended) == AdapterRolledBack(
        adapter_digest=active, previous_digest=TWO, activation=before.activations + 3, requested_by="op-1"
    )
    assert ended.adapters[TWO].rolled_back
    assert TWO not in earlier_adapters(ended)


def test_a_promoted_canary_is_active_and_a_rollback_returns_to_the_one_before() -> None:
    state = promoted(entry)(lived([("activate", ONE), ("canary", TWO)]))
    assert answering(state) == (TWO, None)
    assert isinstance(data := latest(state), AdapterActivated)
    assert data.canary_percent is None
    assert answering(rolled_back(None, entry)(state)) == (ONE, None)
    with pytest.raises(Refused, match="no such canary"):
        promoted(entry)(state)
    with pytest.raises(Refused, match="no such canary"):
        promoted(entry, expected=THREE)(lived([("canary", TWO)]))


def test_what_is_active_or_not_ready_is_no_canary() -> None:
    state = lived([("activate", ONE), ("retire", TWO)])
    for digest in (ONE, TWO, "f" * 64):
        with pytest.raises(Refused):
            canaried(digest, 10, entry)(state)


@pytest.mark.parametrize("going", [[TWO], [ONE], [ONE, TWO]])
def test_a_retirement_of_either_ends_the_canary_and_no_retired_adapter_answers(going: list[str]) -> None:
    state = lived([("activate", THREE), ("activate", ONE), ("canary", TWO)])
    after = retired({digest: state.adapters[digest] for digest in going}, "withdrawn-example", entry)(state)
    assert answering(after) == (THREE if ONE in going else ONE, None)
    numbers = [data.activation for owed in after.outbox if hasattr(data := entry_data(owed), "activation")]
    assert numbers == list(range(1, after.activations + 1))


def test_a_canary_is_not_moved_to_the_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "KEPT_ADAPTERS", 1)
    state = lived([("activate", DIGESTS[3]), ("canary", ONE)])
    assert ONE not in archive.surplus_adapters(state)
    assert ONE in archive.surplus_adapters(settled(state))
