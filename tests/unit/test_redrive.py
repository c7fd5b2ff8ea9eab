"""Dead letters: what is listed, what is sent again, and that it is sent once."""

from __future__ import annotations

import pytest

from producers.replay.letters import letters
from producers.replay.log import Message
from producers.replay.plan import ReplayPlan
from producers.replay.running import ReplayStopped
from producers.replay.selection import Selection
from schemas.bus import events
from schemas.bus.envelope import decode
from schemas.bus.outcome import Outcome
from schemas.bus.topics import MESSAGE_BYTES
from tests.unit.replay_parts import Installation, granted

LETTERS = {"dead_letters": True}


async def buried() -> Installation:
    """Three letters of two tenants, for two reasons, and one that nobody can read."""
    made = Installation()
    for tenant in ("t1", "t2"):
        await made.tenant(tenant)
    for number, tenant in enumerate(("t1", "t1", "t2")):
        await made.publish(tenant, granted(f"c-{number}"))
    await made.garbage(events.CURATION)
    for number, message in enumerate(made.held(events.CURATION)):
        code = ("handler-error", "no-content", "handler-error", "invalid-data")[number]
        await made.bury(message, code=code)
    return made


async def one_message() -> tuple[Installation, Message]:
    """One tenant's consent, which nobody has failed on yet."""
    made = Installation()
    await made.tenant("t1")
    await made.publish("t1", granted("c"))
    [message] = made.held(events.CURATION)
    return made, message


async def redrive(made: Installation, **criteria: object) -> ReplayPlan:
    plan = await made.plan(**LETTERS, **criteria)
    await made.run(plan, max_effects=None, max_dead_letters=None).execute("op")
    return plan


async def listed(made: Installation, **criteria: object) -> list[tuple[str, str, str | None]]:
    selection = Selection.model_validate({**LETTERS, **criteria})
    return [(held.reason, held.status, held.tenant) for held in await letters(made.log, made.fences(), selection)]


async def test_every_letter_is_listed_with_its_reason_and_whether_it_can_be_sent() -> None:
    made = await buried()
    await made.fence("t2", "purging")
    assert await listed(made) == [
        ("handler-error", "waiting", "t1"),
        ("no-content", "waiting", "t1"),
        ("handler-error", "fenced", "t2"),
        ("invalid-data", "unreadable", None),
    ]
    assert await listed(made, reasons=["no-content"]) == [("no-content", "waiting", "t1")]
    assert await listed(made, consumers=["export"]) == []
    assert await listed(made, topics=[events.TRAINING]) == []


async def test_letters_go_to_the_topic_that_they_came_from_each_once() -> None:
    made = await buried()
    plan = await redrive(made)
    assert (plan.messages, plan.unreadable, plan.redriven) == (3, 1, 0)
    assert [m.topic for m in made.log.sent] == [events.CURATION] * 3
    assert [status for _, status, _ in await listed(made)] == ["redriven"] * 3 + ["unreadable"]
    again = await redrive(made)
    assert (again.messages, again.redriven) == (0, 3)
    assert len(made.log.sent) == 3


async def test_a_plan_that_is_run_twice_sends_no_letter_twice() -> None:
    made = await buried()
    plan = await made.plan(**LETTERS)
    for _ in range(2):
        await made.run(plan, max_effects=None).execute("op")
    assert len(made.log.sent) == 3


async def test_a_letter_of_a_purged_tenant_is_refused_also_when_it_is_purged_after_the_plan() -> None:
    made = await buried()
    plan = await made.plan(**LETTERS)
    await made.fence("t2", "purged")
    await made.run(plan, max_effects=None).execute("op")
    assert {m.key for m in made.log.sent} == {b"t1"}
    later = await made.plan(**LETTERS)
    assert (later.messages, [(held.tenant, held.events) for held in later.excluded]) == (0, [("t2", 1)])


async def test_a_letter_that_fails_again_keeps_the_history_of_both_failures_and_can_be_sent_again() -> None:
    made = await buried()
    await redrive(made, reasons=["no-content"])
    copy = made.held(events.CURATION)[-1]
    assert dict(copy.headers)["dlq_reason"] == b"no-content"
    await made.bury(copy, code="keeps-failing", consumer="ledger")
    selection = Selection.model_validate({**LETTERS, "reasons": ["keeps-failing"]})
    [letter] = await letters(made.log, made.fences(), selection)
    assert [(failure.reason, failure.consumer) for failure in letter.failures] == [
        ("no-content", "curation"),
        ("keeps-failing", "ledger"),
    ]
    assert letter.status == "waiting", "it is another letter than the one that was sent"
    plan = await redrive(made, reasons=["keeps-failing"])
    assert plan.messages == 1
    third = made.held(events.CURATION)[-1]
    assert [value for name, value in third.headers if name == "dlq_reason"] == [b"no-content", b"keeps-failing"]
    assert (await made.plan(**LETTERS, reasons=["no-content", "keeps-failing"])).messages == 0
    assert decode(third.key, third.value, third.headers).data == granted("c-1")


async def test_letters_of_one_event_that_two_consumers_failed_on_are_two() -> None:
    made, message = await one_message()
    for consumer in ("curation", "ledger"):
        await made.bury(message, consumer=consumer)
    assert (await made.plan(**LETTERS, consumers=["ledger"])).messages == 1
    plan = await redrive(made)
    assert (plan.messages, (await made.plan(**LETTERS)).messages) == (2, 0)


async def test_a_letter_on_a_topic_where_its_event_does_not_belong_is_not_moved_to_the_right_one() -> None:
    made, message = await one_message()
    foreign = type(message)(
        message.place._replace(topic=events.TRAINING), message.time, message.key, message.value, message.headers
    )
    await made.bury(foreign, code="wrong-topic")
    assert await listed(made) == [("wrong-topic", "unreadable", None)]
    assert (await made.plan(**LETTERS)).messages == 0


async def test_what_a_sender_put_into_the_headers_of_a_failure_is_not_shown() -> None:
    made, message = await one_message()
    forged = type(message)(
        message.place,
        message.time,
        message.key,
        message.value,
        (*message.headers, ("dlq_reason", b"Frau M\xc3\xbcller"), ("dlq_consumer", b"\xff")),
    )
    await made.bury(forged)
    [letter] = await letters(made.log, made.fences(), Selection(dead_letters=True))
    assert [failure.reason for failure in letter.failures] == ["unknown", "handler-error"]
    assert "ller" not in letter.model_dump_json()


async def test_a_letter_without_its_message_is_listed_with_where_that_lies_and_is_never_sent() -> None:
    made, message = await one_message()
    whole = type(message)(
        message.place, message.time, message.key, (message.value or b"") + b" " * MESSAGE_BYTES, message.headers
    )
    await made.bury(whole)
    assert await listed(made, reasons=["too-large"]) == [("too-large", "too-large", None)]
    [letter] = await letters(made.log, made.fences(), Selection(dead_letters=True))
    assert letter.original == str(message.place)
    plan = await redrive(made)
    assert (plan.messages, plan.too_large, plan.unreadable, made.log.sent) == (0, 1, 0, [])


async def test_a_command_that_was_sent_back_for_one_reader_is_redriven_for_all() -> None:
    made, message = await one_message()
    marked = type(message)(
        message.place, message.time, message.key, message.value, (*message.headers, ("sano_only_for", b"purge"))
    )
    await made.bury(marked)
    await redrive(made)
    assert [name for message in made.log.sent for name, _ in message.headers if name == "sano_only_for"] == []


async def test_a_fix_that_does_not_hold_stops_the_redrive_at_its_canary() -> None:
    made = await buried()
    made.log.answer = lambda event: Outcome.DEAD_LETTERED
    plan = await made.plan(**LETTERS)
    run = made.run(plan, canary=1, max_effects=None)
    with pytest.raises(ReplayStopped, match="1 dead letters"):
        await run.execute("op")
    assert len(made.log.sent) == 1
