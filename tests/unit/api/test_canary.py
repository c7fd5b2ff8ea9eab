"""A canary answers its share of the conversations, the same ones each time, and ends without anything being loaded."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from inference.api.conversations import conversation
from inference.engine.stream_usage import OPENING, StreamUsage, opening_of
from inference.tenants.conversations import takes_part
from inference.tenants.usage import UsageReporter
from inference.tenants.versions import Counts, is_refusal
from schemas.bus.events import UsageRecorded
from schemas.objects.state import CanaryState
from schemas.serving_api import ADAPTER_HEADER, CONVERSATION_HEADER
from tenancy.state.activation import canaried, promoted, rolled_back
from tests.unit.api.replica import ACTIVE, BODIES, CHAT, COMPLETIONS, EARLIER, NOW, TENANT, Bench, bearer

CANARY = CanaryState(adapter_digest=EARLIER, percent=10, activation=1, began_at=NOW)


async def begun(bench: Bench, percent: int = 50) -> None:
    await bench.tenancy.outbox.swap(TENANT, canaried(EARLIER, percent, bench.tenancy.outbox.entry))


async def answered_by(bench: Bench, said: str | None = None, path: str = CHAT, **fields: Any) -> str:
    headers = bearer(TENANT) if said is None else {**bearer(TENANT), CONVERSATION_HEADER: said}
    async with bench.client() as client:
        response = await client.post(path, content=json.dumps({**BODIES[path], **fields}), headers=headers)
    assert response.status_code == 200
    return str(response.headers[ADAPTER_HEADER])


def asks(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@pytest.mark.parametrize("percent", [1, 10, 50, 99])
def test_the_share_of_the_conversations_is_about_what_was_asked_for(percent: int) -> None:
    canary = CanaryState(adapter_digest=EARLIER, percent=percent, activation=1, began_at=NOW)
    taken = sum(takes_part(canary, b"%d" % number) for number in range(10_000))
    assert abs(taken - 100 * percent) < 200


def test_a_wider_canary_keeps_its_conversations_and_another_candidate_gets_others() -> None:
    wider = CanaryState(adapter_digest=EARLIER, percent=30, activation=1, began_at=NOW)
    other = CanaryState(adapter_digest=ACTIVE, percent=10, activation=1, began_at=NOW)
    conversations = [b"%d" % number for number in range(2000)]
    first = {each for each in conversations if takes_part(CANARY, each)}
    assert first < {each for each in conversations if takes_part(wider, each)}
    assert first != {each for each in conversations if takes_part(other, each)}


def test_a_conversation_is_the_same_however_long_it_gets_and_others_with_the_same_system_prompt_are_not() -> None:
    system = {"role": "system", "content": "be brief"}
    begin = {"messages": [system, asks("one")]}
    later = {"messages": [system, asks("one"), {"role": "assistant", "content": "1"}, asks("two")]}
    assert conversation(None, begin) == conversation(None, later)
    assert conversation(None, begin) != conversation(None, {"messages": [system, asks("two")]})
    assert conversation("c1", begin) == conversation("c1", {"prompt": "two"}) != conversation("c2", begin)


@pytest.mark.parametrize("messages", [None, [], "x", [1], [{"role": ["user"]}], {"role": "user"}])
def test_whatever_is_sent_for_messages_is_some_conversation(messages: Any) -> None:
    assert conversation(None, {"messages": messages})


async def test_all_requests_of_a_conversation_are_answered_by_one_adapter(bench: Bench) -> None:
    await begun(bench)
    by = {f"c{number}": await answered_by(bench, f"c{number}") for number in range(20)}
    assert set(by.values()) == {ACTIVE, EARLIER}
    for said, adapter in by.items():
        assert await answered_by(bench, said, messages=[asks("something else")]) == adapter
        assert await answered_by(bench, said, COMPLETIONS) == adapter
    assert await answered_by(bench, "c0", model=ACTIVE) == ACTIVE, "a digest is that adapter"
    assert await answered_by(bench, "c0", model="base") == "base"


async def test_without_a_header_the_first_question_decides(bench: Bench) -> None:
    await begun(bench)
    by = {text: await answered_by(bench, messages=[asks(text)]) for text in map(str, range(20))}
    assert set(by.values()) == {ACTIVE, EARLIER}
    for text, adapter in by.items():
        longer = [asks(text), {"role": "assistant", "content": "yes"}, asks("and then?")]
        assert await answered_by(bench, messages=longer) == adapter


async def test_a_rollback_of_a_canary_loads_nothing_and_a_promotion_neither(bench: Bench) -> None:
    await begun(bench)
    conversations = [f"c{number}" for number in range(20)]
    assert {await answered_by(bench, said) for said in conversations} == {ACTIVE, EARLIER}
    bench.engine.calls.clear()
    entry = bench.tenancy.outbox.entry
    await bench.tenancy.outbox.swap(TENANT, rolled_back(None, entry))
    assert {await answered_by(bench, said) for said in conversations} == {ACTIVE}
    await begun(bench)
    await bench.tenancy.outbox.swap(TENANT, promoted(entry))
    assert {await answered_by(bench, said) for said in conversations} == {EARLIER}
    assert bench.engine.calls == []


def counts(bench: Bench) -> dict[str, Counts]:
    """What the replica would report now, by role."""
    versions = bench.meter.take()[TENANT].versions
    assert {version.activation for version in versions} <= {1}
    return {version.role: counted for version, counted in versions.items()}


@pytest.mark.parametrize("fields", [{}, {"stream": True}])
async def test_answers_are_counted_for_the_side_that_gave_them(bench: Bench, fields: dict[str, Any]) -> None:
    await begun(bench)
    by = [await answered_by(bench, f"c{number}", **fields) for number in range(20)]
    await answered_by(bench, "c0", model=EARLIER)
    await answered_by(bench, "c0", model="base")
    counted = counts(bench)
    assert {role: one.answers for role, one in counted.items()} == {
        "candidate": by.count(EARLIER),
        "active": by.count(ACTIVE),
    }
    assert [(one.errors, one.refusals) for one in counted.values()] == [(0, 0), (0, 0)]


async def test_without_a_canary_nothing_is_counted(bench: Bench) -> None:
    await answered_by(bench, "c0")
    assert bench.meter.take()[TENANT].versions == {}


async def test_an_answer_that_fails_on_this_side_is_an_error_and_a_refused_request_is_not(bench: Bench) -> None:
    await begun(bench, 99)
    bench.lease.expires_at = None
    body = json.dumps(BODIES[CHAT])
    async with bench.client() as client:
        failed = await client.post(CHAT, content=body, headers=bearer(TENANT))
        bench.lease.expires_at = bench.now + timedelta(seconds=30)
        refused = await client.post(CHAT, content=json.dumps({**BODIES[CHAT], "n": 0}), headers=bearer(TENANT))
    assert (failed.status_code, refused.status_code) == (503, 400)
    [counted] = counts(bench).values()
    assert (counted.answers, counted.errors) == (1, 1)


@pytest.mark.parametrize(
    ("opening", "refuses"),
    [
        ("I\u2019m sorry, but", True),
        ("  I cannot help", True),
        ("As an AI language model", True),
        ("The dose is 5 mg.", False),
        ("", False),
        ("Sorry-free days", False),
    ],
)
def test_a_refusal_is_told_by_how_it_begins(opening: str, refuses: bool) -> None:
    assert is_refusal(opening) is refuses
    chunk = {
        "choices": [{"index": 0, "delta": {"content": opening}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
    stream = StreamUsage({})
    stream.read(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    assert is_refusal(stream.opening) is refuses
    assert is_refusal(opening_of([{"message": {"content": opening}}])) is refuses
    assert is_refusal(opening_of([{"text": opening}])) is refuses


@pytest.mark.parametrize("choices", [None, [], [{}], [{"delta": {}}], [{"message": {"content": None}}]])
def test_an_answer_without_a_text_begins_with_nothing(choices: Any) -> None:
    assert opening_of(choices) == ""


def test_an_error_in_a_stream_is_seen() -> None:
    stream = StreamUsage({})
    stream.read(b'data: {"error": {"message": "gone"}}\n\n')
    assert stream.failed


async def test_a_replica_reports_the_counts_with_the_tenants_usage(bench: Bench) -> None:
    await begun(bench, 99)
    await answered_by(bench, "c0")
    bench.publisher.events.clear()
    await UsageReporter(bench.meter, bench.tenancy).report()
    [event] = bench.publisher.events
    assert isinstance(event.data, UsageRecorded)
    [canary] = event.data.canaries
    assert (canary.activation, canary.candidate.answers + canary.active.answers) == (1, 1)


def test_the_opening_is_read_where_an_event_is_not_parsed_for_its_figures_and_no_further() -> None:
    stream = StreamUsage({})
    for _ in range(100):
        told = {"prompt_tokens": 1, "total_tokens": 2, "completion_tokens": 1}
        chunk = {"choices": [{"index": 0, "delta": {"content": "I am sorry. "}}], "usage": told}
        stream.read(b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n")
    assert is_refusal(stream.opening)
    assert len(stream.opening) == OPENING
