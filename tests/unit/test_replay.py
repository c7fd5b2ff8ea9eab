"""Running and reporting a replay: what is sent, when it stops, and how it goes on."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from producers.queries.waiting import WaitedTooLong
from producers.replay.journal import Journal, journal, journal_path, read_journal
from producers.replay.reporting import report
from producers.replay.running import Pace, ReplayStopped
from schemas.bus import events
from schemas.bus.envelope import Event, decode
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from tenancy.errors import Refused
from tests.unit.replay_parts import Installation, granted, history

# --- what is sent


async def test_a_message_is_sent_as_it_was_with_the_replay_and_its_origin_after_its_own_headers() -> None:
    made = Installation()
    await made.tenant("t1")
    event = await made.publish("t1", granted("c"))
    [original] = made.held(events.CURATION)
    await made.run(await made.plan()).execute("op")
    [sent] = made.log.sent
    assert (sent.topic, sent.key, sent.value) == (events.CURATION, original.key, original.value)
    assert tuple(sent.headers[: len(original.headers)]) == original.headers
    assert sent.headers[len(original.headers) :] == [
        ("ce_replayid", b"replay-1"),
        ("ce_originaltopic", b"sano.curation.v1"),
        ("ce_originalpartition", str(original.place.partition).encode()),
        ("ce_originaloffset", b"0"),
    ]
    again = decode(sent.key, sent.value, sent.headers)
    assert (again.id, again.time, again.traceparent, again.replay_id) == (
        event.id,
        event.time,
        event.traceparent,
        "replay-1",
    )


async def test_events_are_sent_in_the_order_in_which_they_were_appended() -> None:
    made = await history()
    await made.run(await made.plan()).execute("op")
    times = [decode(m.key, m.value, m.headers).time for m in made.log.sent]
    assert times == sorted(times)


async def test_a_tenant_that_is_purged_between_plan_and_run_is_left_out() -> None:
    made = await history()
    plan = await made.plan()
    await made.fence("t2", "purging")
    preview = await made.run(plan).preview()
    assert (preview.messages, preview.excluded) == (6, 6)
    run = made.run(plan)
    await run.execute("op")
    assert {m.key for m in made.log.sent} == {b"t1"}
    assert run.journal.ended is not None
    assert run.journal.ended.left_out == {"tenant purged": 6}


async def test_a_tenant_that_is_purged_during_a_run_is_left_out_from_then_on() -> None:
    made = await history()
    plan = await made.plan()
    run = made.run(plan, canary=4)
    judge = run._judge

    async def purge_then_judge() -> None:
        await made.fence("t2")
        await judge()

    run._judge = purge_then_judge  # type: ignore[method-assign]
    await run.execute("op")
    assert [m.key for m in made.log.sent].count(b"t2") == 2


# --- when it stops


async def test_a_canary_that_is_dead_lettered_stops_the_replay() -> None:
    made = await history()
    made.log.answer = lambda event: Outcome.DEAD_LETTERED
    with pytest.raises(ReplayStopped, match="3 dead letters, and at most 0"):
        await made.run(await made.plan(), canary=3).execute("op")
    assert len(made.log.sent) == 3


async def test_more_effects_than_allowed_stop_the_replay() -> None:
    made = await history()
    made.log.answer = lambda event: Outcome.EFFECT
    with pytest.raises(ReplayStopped, match="2 effects, and at most 0"):
        await made.run(await made.plan(), canary=2).execute("op")
    again = await made.plan()
    await made.run(again.evolve(replay_id="replay-2"), canary=0, max_effects=12).execute("op")


async def test_a_replay_is_in_the_audit_log_of_each_tenant_before_it_sends_and_when_it_ends() -> None:
    made = await history()
    await made.publish("replica-1", events.ReplicaRegistered(replica_id="replica-1", base_model_digest="a" * 64))
    plan = await made.plan()
    unrecorded = []

    def recorded_first(event: Event) -> Outcome:
        log = object_keys.audit_entries_prefix(event.subject)
        if event.subject != "replica-1" and not any(key.startswith(log) for key in made.objects.objects):
            unrecorded.append(event.id)
        return Outcome.NOOP_DUPLICATE

    made.log.answer = recorded_first
    await made.run(plan).execute("op-1")
    assert unrecorded == []
    for tenant in ("t1", "t2"):
        begun, ended = await made.audited(tenant)
        assert (begun.kind, begun.actor.id, begun.facts["plan_sha256"]) == ("replay.begun", "op-1", plan.sha256())
        assert (ended.kind, ended.facts["sent"], ended.facts["end"]) == ("replay.ended", 6, "finished")
    assert await made.audited("replica-1") == []


async def test_outcomes_of_another_replay_do_not_count() -> None:
    made = await history()
    made.log.answer = lambda event: Outcome.EFFECT
    await made.run(await made.plan(), max_effects=None).execute("op")
    made.log.answer = lambda event: Outcome.NOOP_DUPLICATE
    other = (await made.plan()).evolve(replay_id="replay-2")
    await made.run(other, max_effects=0).execute("op")


async def test_a_consumer_that_does_not_get_on_is_named_and_the_journal_kept() -> None:
    made = await history()
    made.log.handled["curation.v1"] = {}
    run = made.run(await made.plan(), canary=0)
    with pytest.raises(WaitedTooLong, match=r"handling by the group curation\.v1"):
        await run.execute("op")
    assert run.journal.ended is not None
    assert (run.journal.ended.kind, len(run.journal.sent)) == ("stopped", 12)


async def test_the_pace_is_even_and_owes_nothing_after_a_pause() -> None:
    now, slept = [0.0], []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += seconds

    pace = Pace(4.0, lambda: now[0], sleep)
    for _ in range(3):
        await pace()
    assert slept == [0.25, 0.25]
    now[0] += 100
    for _ in range(2):
        await pace()
    assert slept == [0.25, 0.25, 0.25]


# --- going on


@pytest.mark.parametrize("dies_after", range(13))
async def test_a_run_that_died_anywhere_goes_on_and_sends_each_message_once(tmp_path: Path, dies_after: int) -> None:
    made = await history()
    plan, path = await made.plan(), tmp_path / "p.journal.jsonl"
    made.log.dies_after = dies_after
    with journal(path, plan.sha256()) as held:
        run = made.run(plan, held)
        if dies_after < 12:
            with pytest.raises(asyncio.CancelledError):
                await run.execute("op")
        else:
            await run.execute("op")
    made.log.dies_after = None
    with journal(path, plan.sha256()) as held:
        assert (await made.run(plan, held).preview()).messages == 12 - dies_after
        await made.run(plan, held).execute("op")
    assert len(made.log.sent) == 12
    assert len({dict(m.headers)["ce_id"] for m in made.log.sent}) == 12


async def test_a_death_between_the_bus_and_the_journal_sends_one_message_twice(tmp_path: Path) -> None:
    made = await history()
    plan, path = await made.plan(), tmp_path / "p.journal.jsonl"
    with journal(path, plan.sha256()) as held:
        await made.run(plan, held).execute("op")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:20])  # a line that was cut short
    with journal(path, plan.sha256()) as held:
        await made.run(plan, held).execute("op")
    assert len(made.log.sent) == 12 + 8


async def test_what_an_interrupted_run_has_sent_is_waited_for_when_it_goes_on(tmp_path: Path) -> None:
    made = await history()
    plan, path = await made.plan(), tmp_path / "p.journal.jsonl"
    with journal(path, plan.sha256()) as held:
        await made.run(plan, held).execute("op")
    made.log.handled["curation.v1"] = {}
    with journal(path, plan.sha256()) as held, pytest.raises(WaitedTooLong, match=r"curation\.v1"):
        await made.run(plan, held).execute("op")


async def test_a_plan_that_was_run_into_one_installation_is_not_run_into_another(tmp_path: Path) -> None:
    made = await history()
    plan, path = await made.plan(), tmp_path / "p.journal.jsonl"
    with journal(path, plan.sha256()) as held:
        await made.run(plan, held).execute("op")
    with journal(path, plan.sha256()) as held:
        run = made.run(plan, held)
        run.target = replace(run.target, name="elsewhere")
        with pytest.raises(Refused, match="was run into here; plan anew"):
            await run.execute("op")
    assert len(made.log.sent) == 12


async def test_a_plan_is_run_once_at_a_time_and_with_its_own_journal(tmp_path: Path) -> None:
    made = await history()
    plan, path = await made.plan(), tmp_path / "p.journal.jsonl"
    with journal(path, plan.sha256()) as held:
        await made.run(plan, held).execute("op")
        with pytest.raises(Refused, match="another run of this plan"), journal(path, plan.sha256()):
            pass
    with pytest.raises(Refused, match="journal of another plan"):
        read_journal(path, "0" * 64)
    assert journal_path(tmp_path / "p.json") == path


# --- the report


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ((Outcome.EFFECT, Outcome.NOOP_DUPLICATE), Outcome.EFFECT),
        ((Outcome.EFFECT, Outcome.NOOP_STALE, Outcome.NOOP_DUPLICATE), Outcome.EFFECT),
        ((Outcome.NOOP_STALE, Outcome.EFFECT), Outcome.EFFECT),
        ((Outcome.EFFECT, Outcome.DEAD_LETTERED), Outcome.DEAD_LETTERED),
        ((Outcome.EFFECT, Outcome.REFUSED_PURGED), Outcome.REFUSED_PURGED),
        ((Outcome.DEAD_LETTERED, Outcome.NOOP_DUPLICATE), Outcome.NOOP_DUPLICATE),
    ],
    ids=lambda outcomes: "-".join(outcomes) if isinstance(outcomes, tuple) else str(outcomes),
)
async def test_an_effect_stays_one_when_its_consumer_died_before_its_commit_and_finds_it_done(
    told: tuple[Outcome, ...], counted: Outcome
) -> None:
    made = await history(1)
    plan = await made.plan()
    run = made.run(plan, max_effects=None, max_dead_letters=None)
    made.log.answer = lambda event: None
    await run.execute("op")
    for outcome in told:
        recorded = events.OutcomeRecorded(
            event_id=run.journal.sent[0].event_id,
            event_type=run.journal.sent[0].type,
            consumer="curation",
            outcome=outcome,
            delivery="sano.curation.v1/0/5",
            replay_id=plan.replay_id,
        )
        await made.publish("t1", recorded)
    came = await report(plan, run.journal, made.log)
    assert came.consumers == {"curation": {counted: 1}}
    stops = pytest.raises(ReplayStopped, match="1 effects, and at most 0")
    with stops if counted is Outcome.EFFECT else nullcontext():
        await made.run(plan, run.journal, max_effects=0, max_dead_letters=None).execute("op")


async def test_a_report_joins_what_was_sent_with_what_was_told() -> None:
    made = await history()
    answers = {"c-0": Outcome.EFFECT, "c-1": Outcome.REFUSED_PURGED, "c-2": Outcome.DEAD_LETTERED}

    def answer(event: Any) -> Outcome | None:
        if isinstance(event.data, events.UsageRecorded):
            return None
        return answers.get(event.data.consent_id, Outcome.NOOP_STALE)

    made.log.answer = answer
    plan = await made.plan()
    run = made.run(plan, max_effects=None, max_dead_letters=None)
    assert (await report(plan, Journal(), made.log)).status == "not run"
    await run.execute("op")
    told = await report(plan, run.journal, made.log)
    assert (told.status, told.planned, told.sent) == ("finished", 12, 12)
    assert (told.effects, told.no_ops, told.refusals, told.dead_letters) == (1, 3, 1, 1)
    assert told.consumers == {
        "curation": {"DEAD_LETTERED": 1, "EFFECT": 1, "NOOP_STALE": 3, "REFUSED_PURGED": 1},
    }
    assert told.unanswered == {"sano.usage.recorded": 6}
    assert [(held.subject, held.outcome) for held in told.noted] == [
        ("t1", "DEAD_LETTERED"),
        ("t1", "EFFECT"),
        ("t2", "REFUSED_PURGED"),
    ]
