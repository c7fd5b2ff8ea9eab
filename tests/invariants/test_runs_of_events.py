"""A run of like events leaves what they leave one after another: outcomes, records, batches, after any crash too."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.runtime.runs import InRuns
from producers.queries import audit_log
from producers.queries.audit_copy import read_copy
from schemas.bus import events
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from schemas.tenant.policy import TenantPolicy
from tenancy.audit.pseudonyms import Pseudonyms
from tenancy.audit.verification import verify_copy
from tenancy.errors import Refused, TenantFenced, Transient
from tenancy.tenant_id import TenantId
from tests.fixtures.examples import examples
from tests.world.bus import Service
from tests.world.crashes import CrashAt, SimulatedCrash
from tests.world.summary import summary
from tests.world.world import World

TENANT = "t1"
REPORTER = f"{1:032x}"

Plan = Sequence[tuple[str, int, str]]
"""Approvals: of which example, in which version, under which consent; ``-`` for none."""


async def told(world: World, policy: TenantPolicy, plan: Plan) -> list[Event]:
    """The tenant, a consent that was granted, and the approvals as events. Of ``e9`` nothing was uploaded."""
    tenant = await world.onboard(TENANT, policy)
    granted = await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    await world.handle(world.services[0], granted)
    made: dict[tuple[str, int, str], events.ExampleApproved] = {}
    for example, version, consent in plan:
        if (example, version, consent) not in made:
            made[example, version, consent] = await world.approval(
                tenant, example, version=version, consent=None if consent == "-" else consent
            )
    store = await world.outside.store(tenant)
    for version in (1, 2):
        await store.erase(object_keys.content("e9", version))
    return [await world.publish(tenant, made[one]) for one in plan]


async def one_by_one(world: World, told: Sequence[Event], reader: str = "") -> list[str]:
    return [await _alone(world, event, reader) for event in told]


async def in_runs(world: World, told: Sequence[Event], reader: str = "") -> list[str]:
    """As a lane takes them. ``reader``: the service, where it is not the one that acts on such events."""
    service = _service_of(world, told[0], reader)
    handler = service.handlers[type(told[0].data)]
    assert isinstance(handler, InRuns)
    outcomes: list[str] = []
    while left := told[len(outcomes) :]:
        taken: Sequence[Outcome] = ()
        if len(left) > 1:
            try:
                taken = await handler.several(left, service.ports)
            except (Transient, Refused):
                taken = ()
        outcomes += [str(outcome) for outcome in taken] if taken else [await _alone(world, left[0], reader)]
    return outcomes


async def _alone(world: World, event: Event, reader: str = "") -> str:
    try:
        return str(await world.handle(_service_of(world, event, reader), event))
    except TenantFenced:
        raise
    except Refused as refusal:
        return refusal.code


def _service_of(world: World, event: Event, reader: str) -> Service:
    name = reader or ("ledger" if isinstance(event.data, events.UsageRecorded) else "curation")
    return next(service for service in world.services if service.name == name)


def lived(life: Callable[[Path], Any]) -> Any:
    async def once() -> Any:
        with tempfile.TemporaryDirectory() as scratch:
            return await life(Path(scratch))

    return asyncio.run(once())


plans = st.lists(
    st.tuples(
        st.sampled_from([*(f"e{n}" for n in range(8)), "e9"]),
        st.sampled_from([1, 1, 1, 2]),
        st.sampled_from(["consent-1", "consent-1", "consent-1", "-", "consent-2"]),
    ),
    min_size=2,
    max_size=14,
)
policies = st.builds(
    TenantPolicy,
    min_new_examples=st.integers(1, 6),
    min_training_examples=st.just(50),
    require_consent=st.booleans(),
)


@examples(12)
@given(policies, plans)
def test_a_run_of_approvals_has_the_outcomes_and_leaves_the_state_that_they_have_one_after_another(
    policy: TenantPolicy, plan: Plan
) -> None:
    async def life(scratch: Path, read: Any) -> Any:
        world = World(scratch)
        made = await told(world, policy, plan)
        outcomes = await read(world, made)
        return outcomes, await seen(world)

    assert lived(lambda scratch: life(scratch, in_runs)) == lived(lambda scratch: life(scratch, one_by_one))


async def seen(world: World) -> Any:
    """Without commitments: contents are salted, and differ between two worlds. A run remembers its examples, whichever
    of its batches they are in; only those of the last one are remembered of events one after another.
    """
    found = await summary(world, TenantId(TENANT))
    curation = found["state"]["curation"]
    curation["recent"] = curation["recent"][: found["state"]["policy"]["min_new_examples"]]
    return {name: found[name] for name in ("state", "keys", "published")}


IMPORT: Plan = [(f"e{number}", 1, "consent-1") for number in range(7)]


@pytest.mark.parametrize("least", [1, 2, 5, 100])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("again", [in_runs, one_by_one])
async def test_a_crash_at_any_effect_of_a_run_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path, least: int, when: str, again: Any
) -> None:
    policy = TenantPolicy(min_new_examples=least, min_training_examples=50)

    async def life(number: int, position: int | None) -> tuple[Any, int, bool]:
        crash = CrashAt()
        world = World(tmp_path / str(number), crash)
        made = await told(world, policy, IMPORT)
        before = len(crash.effects)
        crash.position, crash.when = None if position is None else before + position, when
        try:
            await in_runs(world, made)
        except* SimulatedCrash:
            pass
        effects = len(crash.effects) - before
        await again(world, made)
        state = (await world.state(TenantId(TENANT))).curation
        assert state.batches == len(IMPORT) // least
        assert len(state.fresh) == len(IMPORT) % least
        return await seen(world), effects, crash.has_crashed

    undisturbed, effects, _ = await life(0, None)
    assert effects >= len(IMPORT) + 1
    for position in range(effects):
        found, _, has_crashed = await life(position + 1, position)
        assert has_crashed or when == "after"
        assert found == undisturbed


@pytest.mark.parametrize("least", [1, 2, 3])
async def test_a_run_that_dies_behind_its_swap_and_again_with_more_behind_it_counts_nothing_twice(
    tmp_path: Path, least: int
) -> None:
    for first in range(1, 6):
        crash = CrashAt()
        world = World(tmp_path / str(first), crash)
        made = await told(world, TenantPolicy(min_new_examples=least, min_training_examples=50), IMPORT)
        for run in (made[:first], made):
            crash.position, crash.has_crashed = len(crash.effects) + 1, False  # the effect behind the swap
            with pytest.raises((SimulatedCrash, BaseExceptionGroup)):
                await in_runs(world, run) if len(run) > 1 else await one_by_one(world, run)
        await in_runs(world, made)
        state = (await world.state(TenantId(TENANT))).curation
        assert (state.batches, len(state.fresh)) == divmod(len(IMPORT), least)


grants = st.lists(st.tuples(st.sampled_from(["c1", "c2", "c3", "c4"]), st.integers(1, 2)), min_size=2, max_size=8)


async def _granted(world: World, policy: TenantPolicy, plan: Sequence[tuple[str, int]]) -> list[Event]:
    """Examples that wait for some of these consents, and the grants."""
    tenant = await world.onboard(TENANT, policy)
    for number, consent in enumerate(("c1", "c1", "c3", "c4")):
        waits = await world.publish(tenant, await world.approval(tenant, f"e{number}", consent=consent))
        await world.handle(world.services[0], waits)
    made = [events.ConsentGranted(consent_id=consent, version=version) for consent, version in plan]
    return [await world.publish(tenant, data) for data in made]


@examples(8)
@given(st.integers(1, 5), grants)
def test_a_run_of_grants_has_the_outcomes_and_leaves_the_state_that_they_have_one_after_another(
    least: int, plan: Sequence[tuple[str, int]]
) -> None:
    policy = TenantPolicy(min_new_examples=least, min_training_examples=50)

    async def life(scratch: Path, read: Any) -> Any:
        world = World(scratch)
        made = await _granted(world, policy, plan)
        return await read(world, made), await seen(world)

    assert lived(lambda scratch: life(scratch, in_runs)) == lived(lambda scratch: life(scratch, one_by_one))


usages = st.lists(
    st.one_of(
        st.builds(lambda day, number: f"202601{day:02}.{REPORTER}.{number}", st.integers(1, 2), st.integers(1, 5)),
        st.sampled_from(["training-r1", "training-r2"]),
    ),
    min_size=2,
    max_size=10,
)


async def _used(world: World, plan: Sequence[str]) -> list[Event]:
    tenant = await world.onboard(TENANT)
    made = [events.UsageRecorded(usage_id=name, source="inference", prompt_tokens=7) for name in plan]
    return [await world.publish(tenant, data) for data in made]


@examples(8)
@given(usages)
def test_a_run_of_usage_has_the_outcomes_and_leaves_the_sums_that_it_has_one_after_another(
    plan: Sequence[str],
) -> None:
    async def life(scratch: Path, read: Any) -> Any:
        world = World(scratch)
        made = await _used(world, plan)
        outcomes = await read(world, made)
        store = await world.outside.store(TenantId(TENANT))
        names = [name async for name in store.list("usage")]
        return outcomes, {name: json.loads((await store.get(name))[0]) for name in names}

    assert lived(lambda scratch: life(scratch, in_runs)) == lived(lambda scratch: life(scratch, one_by_one))


async def entries(world: World) -> list[tuple[int, str, list[str]]]:
    """Number, kind and facts of each entry of a chain that holds. Pseudonyms, which are of each world's own key, are
    resolved, and tags, which are random, left out.
    """
    copy = await read_copy(world.outside, TenantId(TENANT))
    assert not [problem for problem in verify_copy(copy, world.keys.trust).problems if "no entry" not in problem]
    of = Pseudonyms.derived((await world.outside.keys.open(TenantId(TENANT))).data_key).of
    known: dict[Any, str] = {of("example", f"e{number}"): f"e{number}" for number in range(10)}
    known |= {of("consent", f"consent-{number}"): f"consent-{number}" for number in (1, 2)}
    return [
        (entry.seq, entry.kind, [str(known.get(entry.facts.get(name), entry.facts.get(name))) for name in TOLD])
        for entry in audit_log.entries_of(copy)
    ]


TOLD = ("example", "version", "consent", "event_type")


@examples(8)
@given(policies, plans)
def test_a_run_of_decisions_is_entered_in_the_audit_log_as_they_are_one_after_another(
    policy: TenantPolicy, plan: Plan
) -> None:
    async def life(scratch: Path, read: Any) -> Any:
        world = World(scratch)
        made = await told(world, policy, plan)
        outcomes = await read(world, made, "ledger")
        # That an event was contradicted is entered behind the run that it came in.
        return outcomes, sorted((kind, told) for _, kind, told in await entries(world))

    assert lived(lambda scratch: life(scratch, in_runs)) == lived(lambda scratch: life(scratch, one_by_one))


async def test_a_run_of_decisions_is_one_segment_of_the_audit_log_and_costs_a_claim_each(tmp_path: Path) -> None:
    world = World(tmp_path)
    made = await told(world, TenantPolicy(), [(f"x{number}", 1, "consent-1") for number in range(64)])
    before = {name for name in world.memory.objects if name.startswith("audit/")}
    assert set(await in_runs(world, made, "ledger")) == {"EFFECT"}
    written = {name for name in world.memory.objects if name.startswith("audit/")} - before
    areas = Counter(name.split("/")[2] for name in written)
    assert (areas["entries"], areas["claims"], areas["head.json"]) == (1, len(made), 1)
    assert [seq for seq, *_ in await entries(world)] == list(range(1, len(made) + 1))
    assert set(await in_runs(world, made, "ledger")) == {"NOOP_DUPLICATE"}


@examples(8)
@given(st.lists(st.sampled_from([Outcome.EFFECT, Outcome.NOOP_STALE, Outcome.REFUSED_POLICY]), min_size=2, max_size=8))
def test_a_run_of_outcomes_is_entered_as_they_are_one_after_another(told_outcomes: Sequence[Outcome]) -> None:
    async def life(scratch: Path, read: Any) -> Any:
        world = World(scratch)
        tenant = await world.onboard(TENANT)
        shared = {"event_type": "sano.example.approved", "consumer": "curation"}
        made = [
            await world.publish(
                tenant,
                events.OutcomeRecorded(event_id=f"e{number}", outcome=outcome, delivery=f"t/0/{number}", **shared),
            )
            for number, outcome in enumerate(told_outcomes)
        ]
        return await read(world, made, "ledger"), await entries(world)

    assert lived(lambda scratch: life(scratch, in_runs)) == lived(lambda scratch: life(scratch, one_by_one))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("again", [in_runs, one_by_one])
@pytest.mark.parametrize("kind", ["grants", "usage", "audit"])
async def test_a_crash_at_any_effect_of_a_run_of_grants_or_usage_or_audit_entries_counts_nothing_twice(
    tmp_path: Path, when: str, again: Any, kind: str
) -> None:
    async def life(number: int, position: int | None) -> tuple[Any, int]:
        crash = CrashAt()
        world = World(tmp_path / str(number), crash)
        if kind == "grants":
            policy = TenantPolicy(min_new_examples=2, min_training_examples=50)
            made = await _granted(world, policy, [("c1", 1), ("c2", 1), ("c3", 1), ("c4", 1)])
        elif kind == "audit":
            made = await told(world, TenantPolicy(), IMPORT[:4])
        else:
            made = await _used(world, ["training-r1", *(f"20260101.{REPORTER}.{n}" for n in range(1, 5))])
        before = len(crash.effects)
        crash.position, crash.when = None if position is None else before + position, when
        reader = "ledger" if kind == "audit" else ""
        try:
            await in_runs(world, made, reader)
        except* SimulatedCrash:
            pass
        effects = len(crash.effects) - before
        await again(world, made, reader)
        # What is done side by side may be over only once another effect has begun, and then is no place to die at.
        assert crash.has_crashed or position is None or when == "after"
        store = await world.outside.store(TenantId(TENANT))
        usage = [json.loads((await store.get(name))[0]) async for name in store.list("usage")]
        return (await seen(world) if kind != "audit" else await entries(world), usage), effects

    undisturbed, effects = await life(0, None)
    assert effects >= 2
    for position in range(effects):
        assert (await life(position + 1, position))[0] == undisturbed


def _requests_of(world: World) -> list[str]:
    """What the store is asked from now on."""
    requests: list[str] = []
    memory = world.memory
    for name in ("get", "put", "exists", "versions", "keys"):
        original = getattr(memory, name)

        def counted(key: str, *args: Any, _original: Any = original, _name: str = name, **named: Any) -> Any:
            requests.append(f"{_name} {key}")
            return _original(key, *args, **named)

        setattr(memory, name, counted)
    return requests


async def test_a_run_costs_one_swap_and_three_requests_for_each_event(tmp_path: Path) -> None:
    world = World(tmp_path)
    plan: Plan = [(f"x{number}", 1, "consent-1") for number in range(64)]
    made = await told(world, TenantPolicy(min_new_examples=1000), plan)
    requests = _requests_of(world)
    assert set(await in_runs(world, made)) == {"EFFECT"}
    assert len([request for request in requests if "state.json" in request and request.startswith("put")]) == 1
    assert len(requests) / len(made) <= 3.2


async def test_a_run_that_comes_again_costs_one_request_for_each_event_and_swaps_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    plan: Plan = [(f"x{number}", 1, "consent-1") for number in range(64)]
    made = await told(world, TenantPolicy(min_new_examples=1000), plan)
    await in_runs(world, made)
    requests = _requests_of(world)
    assert set(await in_runs(world, made)) == {"NOOP_DUPLICATE"}
    assert not [request for request in requests if request.startswith("put")]
    assert len(requests) / len(made) <= 1.2


async def test_a_tenant_that_is_fenced_is_refused_as_a_whole(tmp_path: Path) -> None:
    world = World(tmp_path)
    made = await told(world, TenantPolicy(min_new_examples=1000), IMPORT)
    handler = world.services[0].handlers[events.ExampleApproved]
    assert isinstance(handler, InRuns)
    await world.publish(TenantId(TENANT), events.TenantChurned(requested_by="op"))
    await world.settle()
    with pytest.raises(TenantFenced):
        await handler.several(made, world.services[0].ports)
