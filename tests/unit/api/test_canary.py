"""A canary answers its share of the conversations, the same ones each time, and ends without anything being loaded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference.api.conversations import conversation
from inference.tenants.conversations import takes_part
from schemas.objects.state import CanaryState
from schemas.serving_api import ADAPTER_HEADER, CONVERSATION_HEADER
from tenancy.state.activation import canaried, promoted, rolled_back
from tests.unit.api.replica import ACTIVE, BODIES, CHAT, COMPLETIONS, EARLIER, TENANT, Bench, bearer

CANARY = CanaryState(adapter_digest=EARLIER, percent=10)


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
    canary = CanaryState(adapter_digest=EARLIER, percent=percent)
    taken = sum(takes_part(canary, b"%d" % number) for number in range(10_000))
    assert abs(taken - 100 * percent) < 200


def test_a_wider_canary_keeps_its_conversations_and_another_candidate_gets_others() -> None:
    wider = CanaryState(adapter_digest=EARLIER, percent=30)
    other = CanaryState(adapter_digest=ACTIVE, percent=10)
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
