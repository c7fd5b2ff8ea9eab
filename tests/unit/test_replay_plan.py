"""A replay's plan: what is chosen, what is refused, and whether it still holds when it is to be run."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from producers.replay.plan import read_plan, require_hash, write_plan
from producers.replay.selection import REPLAYABLE, Selection
from schemas.bus import events
from schemas.bus.envelope import decode
from tenancy.errors import Refused
from tests.fixtures.examples import examples
from tests.unit.replay_parts import START, Installation, granted, history


async def test_a_plan_says_what_would_be_sent_and_sends_nothing() -> None:
    made = await history()
    before = {topic: made.held(topic) for topic in REPLAYABLE}
    plan = await made.plan()
    assert (plan.messages, plan.tenants) == (12, 2)
    assert plan.topics == {events.CURATION: 6, events.USAGE: 6}
    assert plan.types == {"sano.consent.granted": 6, "sano.usage.recorded": 6}
    assert {topic: made.held(topic) for topic in REPLAYABLE} == before
    assert made.log.sent == []


async def test_what_is_appended_after_a_plan_is_not_in_it() -> None:
    made = await history()
    plan = await made.plan()
    await made.publish("t1", granted("later"))
    await made.run(plan).execute("op")
    assert len(made.log.sent) == 12


async def test_what_cannot_be_read_and_what_comes_twice_is_left_out_and_counted() -> None:
    made = await history(2)
    await made.publish("t1", granted("c-0"))
    await made.garbage(events.CURATION)
    plan = await made.plan()
    assert (plan.messages, plan.unreadable, plan.repeated) == (4, 1, 1)
    await made.run(plan).execute("op")
    again = await made.plan()
    assert (again.messages, again.repeated) == (4, 5), "a copy that a replay sent is no event of its own"


@pytest.mark.parametrize("status", ["purging", "purged"])
async def test_a_fenced_tenant_is_left_out_and_named(status: str) -> None:
    made = await history()
    await made.fence("t2", status)
    plan = await made.plan()
    assert plan.messages == 6
    assert [(held.tenant, held.status, held.events) for held in plan.excluded] == [("t2", status, 6)]


async def test_what_a_purge_under_way_may_wait_for_is_sent_until_it_is_over() -> None:
    made = await history(2)
    await made.publish("t2", events.PurgeRequested(purge_id="p", reason_code="test", requested_by="op"))
    await made.fence("t2", "purging")
    plan = await made.plan(tenants=["t2"])
    assert plan.types == {"sano.purge.requested": 1}
    await made.fence("t2", "purged")
    assert (await made.plan(tenants=["t2"])).messages == 0


async def test_a_replicas_registration_belongs_to_no_tenant_and_is_never_left_out() -> None:
    made = Installation()
    await made.publish("replica-1", events.ReplicaRegistered(replica_id="replica-1", base_model_digest="a" * 64))
    assert (await made.plan()).messages == 1


CRITERIA = st.fixed_dictionaries(
    {},
    optional={
        "topics": st.lists(st.sampled_from([events.CURATION, events.USAGE, events.TRAINING]), max_size=2, unique=True),
        "tenants": st.lists(st.sampled_from(["t1", "t2", "t3"]), max_size=2, unique=True),
        "types": st.lists(st.sampled_from(["sano.consent.granted", "sano.usage.recorded"]), max_size=2, unique=True),
        "since": st.integers(0, 30).map(lambda seconds: START + timedelta(seconds=seconds)),
        "until": st.integers(31, 60).map(lambda seconds: START + timedelta(seconds=seconds)),
    },
)


@examples(60)
@given(CRITERIA)
def test_a_selection_yields_exactly_what_meets_all_of_its_criteria(criteria: dict[str, Any]) -> None:
    async def check() -> None:
        made = await history(8)
        expected = [
            message
            for topic in criteria.get("topics") or REPLAYABLE
            for message in made.held(topic)
            if not criteria.get("tenants") or (message.key or b"").decode() in criteria["tenants"]
            if not criteria.get("types") or dict(message.headers)["ce_type"].decode() in criteria["types"]  # type: ignore[union-attr]
            if "since" not in criteria or message.time >= criteria["since"]
            if "until" not in criteria or message.time < criteria["until"]
        ]
        plan = await made.plan(**criteria)
        assert plan.messages == len(expected)
        await made.run(plan).execute("op")
        assert [(m.key, m.value) for m in made.log.sent] == [
            (m.key, m.value) for m in sorted(expected, key=lambda m: m.time)
        ]

    asyncio.run(check())


async def test_one_event_can_be_chosen_by_its_id() -> None:
    made = await history()
    event = await made.publish("t1", granted("chosen"))
    plan = await made.plan(event_ids=[event.id])
    await made.run(plan).execute("op")
    assert [decode(m.key, m.value, m.headers).data for m in made.log.sent] == [event.data]


@pytest.mark.parametrize(
    "criteria",
    [
        {"topics": [events.OUTCOMES]},
        {"topics": ["sano.curation.v1.dlq"]},
        {"types": ["sano.no.such"]},
        {"reasons": ["handler-error"]},
        {"since": START, "until": START},
    ],
)
def test_criteria_that_nothing_can_meet_are_refused(criteria: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Selection.model_validate(criteria)


async def test_a_plan_is_read_back_and_its_hash_does_not_depend_on_how_the_file_is_laid_out(tmp_path: Path) -> None:
    plan = await (await history()).plan()
    path = tmp_path / "p.json"
    write_plan(path, plan)
    assert read_plan(path) == plan
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    assert read_plan(path) == plan
    require_hash(plan, plan.sha256()[:8])
    with pytest.raises(Refused, match="File exists"):
        write_plan(path, plan)


@pytest.mark.parametrize("change", [{"messages": 5}, {"replay_id": "replay-2"}, {"excluded": []}, {"ranges": []}])
async def test_a_plan_that_was_changed_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    made = await history()
    await made.fence("t2")
    path = tmp_path / "p.json"
    write_plan(path, await made.plan())
    held = json.loads(path.read_text())
    held["plan"] |= change
    path.write_text(json.dumps(held))
    with pytest.raises(Refused, match="not what was planned"):
        read_plan(path)


@pytest.mark.parametrize("body", ["", "[]", '{"plan": {}, "sha256": ""}', '{"plan": 1}'])
def test_what_is_no_plan_is_refused(tmp_path: Path, body: str) -> None:
    (tmp_path / "p.json").write_text(body)
    with pytest.raises(Refused, match="is no plan"):
        read_plan(tmp_path / "p.json")


async def test_the_hash_of_another_plan_is_refused() -> None:
    made = await history()
    one, other = await made.plan(), await made.plan(tenants=["t1"])
    with pytest.raises(Refused, match="hash of another plan"):
        require_hash(one, other.sha256())


async def test_a_plan_of_which_retention_removed_a_part_is_refused_and_nothing_is_sent() -> None:
    made = await history()
    plan = await made.plan()
    first = made.held(events.CURATION)[0].place
    made.log.remove(first.topic, first.partition, first.offset + 1)
    with pytest.raises(Refused, match="retention has removed a part"):
        await made.run(plan).execute("op")
    assert made.log.sent == []


async def test_what_retention_removed_before_the_first_message_of_a_plan_does_no_harm() -> None:
    made = await history()
    plan = await made.plan(tenants=["t1"], since=made.held(events.CURATION)[2].time)
    first = made.held(events.CURATION)[0].place
    made.log.remove(first.topic, first.partition, first.offset + 1)
    await made.run(plan).execute("op")
    assert len(made.log.sent) == plan.messages > 0
