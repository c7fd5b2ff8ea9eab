"""Chat answers from a tenant's documents: passages in a frame, citations, dates, policy, removals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from consumers.knowledge.handlers import on_document
from inference.knowledge.port import Searched
from inference.knowledge.retrieval import NO_SUPPORT, Wanted
from schemas.bus.envelope import Event
from schemas.bus.events import DocumentUpserted
from schemas.objects.knowledge import SegmentEntry
from schemas.objects.state import KnowledgeState, TenantState
from tenancy.embedding.port import Embedded, TextKind
from tenancy.errors import Transient
from tenancy.knowledge.frame import BEGIN, END, INTRODUCTION
from tenancy.knowledge.published import read_segment
from tenancy.knowledge.search import Found, Question
from tenancy.knowledge.segments import Passage
from tenancy.storage.keys import KeyRing, TenantKeys
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId
from tests.answers.injections import INJECTIONS, Injection
from tests.unit.api.replica import CHAT, COMPLETIONS, OTHER, TENANT, Bench
from tests.unit.knowledge.index_parts import Index
from tests.unit.operator_parts import Parts

ASK = {"messages": [{"role": "user", "content": "Which dose of apixaban?"}]}


class Told:
    """A replica, and a consumer that indexes what it is told."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def index(self, tenant: TenantId = TENANT) -> Index:
        parts = Parts(objects=self.bench.objects)
        object.__setattr__(parts, "tenancy", self.bench.tenancy)
        return Index(parts, tenant, self.bench.embedder)

    async def say(
        self, document_id: str, version: int, *texts: str, tenant: TenantId = TENANT, **dates: Any
    ) -> Event[DocumentUpserted]:
        index = self.index(tenant)
        event = await index.upserted(document_id, version, *texts, **dates)
        await on_document(event, index.ports)
        return event

    async def remove(self, document_id: str, version: int) -> None:
        index = self.index()
        await on_document(index.removed(document_id, version), index.ports)

    async def policy(self, **changes: Any) -> None:
        def changed(state: TenantState) -> TenantState:
            return state.evolve(policy=state.policy.evolve(**changes))

        await self.bench.tenancy.states.swap(TENANT, changed)

    async def ask(self, tenant: TenantId = TENANT, **fields: Any) -> dict[str, Any]:
        answer = await self.bench.post(CHAT, tenant, **{**ASK, **fields})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def prompt(self) -> str:
        return str(self.bench.engine.asked[-1].fields["messages"][-1]["content"])


@pytest.fixture
def told(bench: Bench) -> Told:
    return Told(bench)


def cited(answer: dict[str, Any]) -> list[tuple[str, int, str]]:
    return [(one["document_id"], one["version"], one["passage"]) for one in answer["retrieval"]["citations"]]


async def test_an_answer_is_given_from_passages_and_cites_them(told: Told) -> None:
    await told.say("d1", 3, "Apixaban dose is 5 mg.", "Call the ward.")
    answer = await told.ask(retrieval={"top_k": 1})
    [one] = answer["retrieval"]["citations"]
    assert answer["retrieval"]["supported"] is True
    assert (one["number"], one["document_id"], one["version"], one["title"]) == (1, "d1", 3, "Formulary")
    assert one["passage"].startswith("Apixaban dose is 5 mg.")
    assert one["score"] > 0
    assert one["similarity"] > 0.25
    assert told.prompt().startswith(f"{INTRODUCTION}\n\n{BEGIN}\n[1] Formulary: Apixaban dose is 5 mg.")
    assert told.prompt().endswith("Which dose of apixaban?")
    assert "retrieval" not in told.bench.engine.asked[-1].fields


async def test_nothing_is_retrieved_unless_the_request_or_the_policy_says_so(told: Told) -> None:
    await told.say("d1", 1, "Apixaban dose is 5 mg.")
    assert "retrieval" not in await told.ask()
    assert told.prompt() == "Which dose of apixaban?"
    await told.policy(retrieval=True)
    assert cited(await told.ask()) == [("d1", 1, "Apixaban dose is 5 mg.")]
    answer = await told.ask(retrieval={"top_k": 0})
    assert answer["retrieval"] == {"supported": False, "citations": []}
    assert told.prompt() == "Which dose of apixaban?"


async def test_a_tenants_questions_wait_for_each_other_at_the_embedder_and_another_tenants_does_not(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tenant in (TENANT, OTHER):
        await told.say("d1", 1, "Apixaban dose is 5 mg.", tenant=tenant)
    embed, asked, release = told.bench.embedder.embed, list[str](), asyncio.Event()

    async def slow(texts: Sequence[str], kind: TextKind) -> Embedded:
        asked.append(texts[0])
        await release.wait()
        return await embed(texts, kind)

    monkeypatch.setattr(told.bench.embedder, "embed", slow)

    def question(text: str, tenant: TenantId = TENANT) -> asyncio.Task[dict[str, Any]]:
        messages = [{"role": "user", "content": text}]
        return asyncio.create_task(told.ask(tenant, messages=messages, retrieval={}))

    many = [question("apixaban dose") for _ in range(4)]
    while not asked:
        await asyncio.sleep(0)
    other = question("dose of apixaban", OTHER)
    while len(asked) < 2:
        await asyncio.sleep(0)
    assert asked == ["apixaban dose", "dose of apixaban"]
    release.set()
    assert all(map(cited, await asyncio.gather(other, *many)))


async def test_each_question_to_the_documents_is_metered_and_no_other(told: Told) -> None:
    await told.ask(retrieval={})
    assert told.bench.meter.take()[TENANT].retrievals == 0, "there is nothing to search"
    await told.say("d1", 1, "Apixaban dose is 5 mg.")
    for retrieval in ({}, {"top_k": 1}, {"top_k": 0}, None):
        await told.ask(retrieval=retrieval)
    used = told.bench.meter.take()[TENANT]
    assert told.bench.embedder.kinds == ["passage", "query", "query"]
    tokens = (await told.bench.embedder.embed(["Which dose of apixaban?"], "query")).tokens
    assert (used.retrievals, used.embedding_tokens) == (2, 2 * tokens)


async def test_of_an_index_that_is_open_no_question_opens_the_tenants_key(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    await told.say("d1", 1, "Apixaban dose is 5 mg.")
    first = await told.ask(retrieval={})

    async def refused(self: KeyRing, tenant: TenantId) -> TenantKeys:
        raise AssertionError("every question would cost a call of the master key, which all tenants share")

    monkeypatch.setattr(KeyRing, "open", refused)
    assert cited(await told.ask(retrieval={})) == cited(first) != []


async def test_a_stream_cites_in_an_event_of_its_own_before_it_ends(told: Told) -> None:
    await told.say("d1", 1, "Apixaban dose is 5 mg.")
    answer = await told.bench.post(CHAT, TENANT, **{**ASK, "stream": True, "retrieval": {}})
    chunks = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert chunks[-1] == "[DONE]"
    last = json.loads(chunks[-2])
    assert (last["object"], last["choices"]) == ("chat.completion.chunk", [])
    assert cited(last) == [("d1", 1, "Apixaban dose is 5 mg.")]
    assert all("retrieval" not in json.loads(chunk) for chunk in chunks[:-2])


async def test_an_updated_document_replaces_its_passages_and_a_removed_one_is_never_cited_again(told: Told) -> None:
    first = await told.say("d1", 1, "Apixaban dose is 5 mg.")
    await told.ask(retrieval={})
    second = await told.say("d1", 2, "Apixaban dose is 10 mg.")
    assert cited(await told.ask(retrieval={})) == [("d1", 2, "Apixaban dose is 10 mg.")]
    await told.remove("d1", 2)
    assert cited(await told.ask(retrieval={})) == []
    for event in (second, first):
        await on_document(event, told.index().ports)
    assert cited(await told.ask(retrieval={})) == []
    assert "10 mg" not in told.prompt()


async def test_only_documents_that_are_in_force_are_cited(told: Told) -> None:
    day = timedelta(days=1)
    now: datetime = told.bench.tenancy.clock()
    await told.say("old", 1, "Apixaban dose is 1 mg.", ends=now - day)
    await told.say("now", 1, "Apixaban dose is 2 mg.", begins=now - day, ends=now + day)
    await told.say("new", 1, "Apixaban dose is 3 mg.", begins=now + day)
    assert [one[0] for one in cited(await told.ask(retrieval={}))] == ["now"]
    at = {"effective_at": (now + 2 * day).isoformat()}
    assert [one[0] for one in cited(await told.ask(retrieval={"filter": at}))] == ["new"]


async def test_a_filter_names_the_documents_that_may_be_cited(told: Told) -> None:
    for name in ("d1", "d2", "d3"):
        await told.say(name, 1, "Apixaban dose is 5 mg.")
    answer = await told.ask(retrieval={"filter": {"document_ids": ["d2", "missing"]}})
    assert [one[0] for one in cited(answer)] == ["d2"]


async def test_no_tenant_is_answered_from_anothers_documents(told: Told) -> None:
    await told.say("d1", 1, "Apixaban dose is 5 mg.")
    await told.ask(retrieval={})
    assert cited(await told.ask(OTHER, retrieval={})) == []
    assert "5 mg" not in told.prompt()


async def test_an_answer_without_support_says_so_by_policy(told: Told) -> None:
    await told.say("d1", 1, "Parking is free on Sundays.")
    answer = await told.ask(retrieval={})
    assert answer["retrieval"] == {"supported": False, "citations": []}
    asked = len(told.bench.engine.asked)
    await told.policy(unsupported_answers="declined")
    answer = await told.ask(retrieval={})
    assert answer["choices"][0]["message"]["content"] == NO_SUPPORT
    assert answer["usage"]["total_tokens"] == 0
    stream = await told.bench.post(CHAT, TENANT, **{**ASK, "stream": True, "retrieval": {}})
    assert NO_SUPPORT in stream.text
    assert stream.text.endswith("data: [DONE]\n\n")
    assert len(told.bench.engine.asked) == asked, "the engine is not asked"


@pytest.mark.parametrize(
    "wrong",
    [
        {"top_k": 21},
        {"top_k": "4"},
        {"top_k": True},
        {"filter": {"document_ids": ["a b"]}},
        {"filter": {"effective_at": "tomorrow"}},
        {"other": 1},
        [],
        "yes",
    ],
)
async def test_a_wrong_field_is_refused_and_none_of_it_repeated(told: Told, wrong: Any) -> None:
    answer = await told.bench.post(CHAT, TENANT, **{**ASK, "retrieval": wrong})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("retrieval")
    assert "tomorrow" not in answer.text


async def test_a_long_field_is_refused_before_each_name_in_it_makes_an_error(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wanted, "model_validate_json", lambda *_, **__: pytest.fail("it was read"))
    wrong = {f"name-{number}": 0 for number in range(3000)}
    assert (await told.bench.post(CHAT, TENANT, **{**ASK, "retrieval": wrong})).status_code == 400


@pytest.mark.parametrize("wrong", [1, None, {"role": "user"}, {"role": "nobody", "content": "?"}])
async def test_a_wrong_message_beside_a_question_is_refused_by_its_field(told: Told, wrong: object) -> None:
    await told.say("d1", 1, "Apixaban dose is 5 mg.")
    answer = await told.bench.post(CHAT, TENANT, messages=[wrong, *ASK["messages"]], retrieval={})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("messages[0]")


async def test_completions_take_no_retrieval(told: Told) -> None:
    answer = await told.bench.post(COMPLETIONS, TENANT, prompt="q", retrieval={})
    assert answer.status_code == 400


async def test_without_an_embedder_or_with_a_broken_index_nothing_is_answered_instead(told: Told) -> None:
    await told.say("d1", 1, "Apixaban dose is 5 mg.")

    async def none() -> None:
        return None

    sound = told.bench.answers
    told.bench.api.answers = replace(sound, retrieval=replace(sound.retrieval, embedder=none))
    asked = len(told.bench.engine.asked)
    assert (await told.bench.post(CHAT, TENANT, **{**ASK, "retrieval": {}})).status_code == 503
    told.bench.api.answers = sound
    store = await told.bench.tenancy.store(TENANT)
    [segment] = [key async for key in store.list("knowledge", "segments")]
    await store.put(segment, b"changed")
    answer = await told.bench.post(CHAT, TENANT, **{**ASK, "retrieval": {}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "retrieval_unavailable")
    assert len(told.bench.engine.asked) == asked


@dataclass
class Elsewhere:
    """An engine outside the replica, behind the port."""

    answer: Searched | Exception
    asked: list[tuple[TenantId, int, Question]] = field(default_factory=list)

    async def search(self, tenant: TenantId, state: KnowledgeState, question: Question) -> Searched:
        self.asked.append((tenant, state.generation, question))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_an_engine_behind_the_port_is_asked_for_the_published_set_and_its_passages_are_cited(told: Told) -> None:
    await told.say("d1", 1, "Apixaban dose is 5 mg.")
    near, far = (
        Found(Passage(name, 2, "Elsewhere", f"from {name}"), 0.5, similarity)
        for name, similarity in (("near", 0.9), ("far", 0.1))
    )
    elsewhere = Elsewhere(Searched([near, far], {"near": "N", "far": "F"}))
    sound = told.bench.answers
    told.bench.api.answers = replace(sound, retrieval=replace(sound.retrieval, passages=elsewhere))
    at = "2026-04-01T00:00:00+00:00"
    answer = await told.ask(retrieval={"top_k": 3, "filter": {"document_ids": ["near"], "effective_at": at}})
    assert cited(answer) == [("near", 2, "from near")], "what is not similar enough supports no answer"
    [(tenant, generation, question)] = elsewhere.asked
    assert (tenant, generation, question.text, question.top_k) == (TENANT, 1, "Which dose of apixaban?", 3)
    assert (question.at.isoformat(), question.document_ids) == (at, {"near"})
    elsewhere.answer = Transient("it is away")
    assert (await told.bench.post(CHAT, TENANT, **{**ASK, "retrieval": {}})).status_code == 503


@pytest.mark.parametrize("injection", INJECTIONS, ids=range(len(INJECTIONS)))
async def test_a_passage_cannot_end_its_frame_or_begin_a_turn(told: Told, injection: Injection) -> None:
    said = f"apixaban dose{injection.text}"
    await told.policy(retrieval_min_similarity=-1.0)
    await told.say("d1", 1, said)
    answer = await told.ask(retrieval={}, messages=[{"role": "system", "content": "S"}, *ASK["messages"]])
    assert "".join(cited(answer)[0][2].split()) == "".join(said.split())
    messages = told.bench.engine.asked[-1].fields["messages"]
    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[0]["content"] == "S", "documents are no system's words"
    text = messages[1]["content"]
    head, _, rest = text.partition(f"{BEGIN}\n")
    passages, _, question = rest.partition(f"\n{END}")
    assert head == f"{INTRODUCTION}\n\n"
    assert question.endswith("Which dose of apixaban?")
    assert END not in question, "the frame ends once"
    assert "\n" not in passages, "a passage is one line"
    assert passages.startswith("[1] ")
    for token in ("<|", "</s>", "<s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "<start", "<end", "<\uff5c", "###"):
        assert token not in passages
    assert not any(ord(c) in (0x200B, 0x202E) or 0xE0000 <= ord(c) <= 0xE007F for c in passages)


async def test_numbers_comparisons_and_placeholders_of_a_passage_stay(told: Told) -> None:
    said = "Apixaban dose if eGFR < 30 or > 15: 2.5 mg, from [DATE-1]; a <= b."
    await told.say("d1", 1, said)
    await told.ask(retrieval={})
    assert said in told.prompt()


async def test_the_frame_keeps_to_its_room_and_cites_what_is_in_it(told: Told) -> None:
    await told.policy(retrieval_min_similarity=-1.0)
    for number in range(8):
        await told.say(f"d{number}", 1, f"Apixaban dose {number} " + "is not known here " * 20)
    sound = told.bench.answers
    told.bench.api.answers = replace(sound, retrieval=replace(sound.retrieval, frame_characters=900))
    answer = await told.ask(retrieval={"top_k": 8})
    assert 1 <= len(cited(answer)) < 8
    assert len(told.prompt()) < 900 + len(INTRODUCTION) + 200
    for one in cited(answer):
        assert one[2].strip() in told.prompt()


async def test_an_index_is_opened_once_and_dropped_at_a_purge_when_idle_and_for_room(told: Told) -> None:
    indexes = told.bench.indexes
    await told.say("d1", 1, "Apixaban dose is 5 mg.")
    await told.ask(retrieval={})
    [index] = indexes._indexes.values()
    [opened] = index.segments.values()
    await told.ask(retrieval={})
    assert next(iter(indexes._indexes.values())) is index
    assert opened.segment.texts.joined.any()
    assert await indexes.remove_tenant(TENANT) == 1
    assert not opened.segment.texts.joined.any()
    assert not opened.segment.vectors.any()
    assert (await told.bench.post(CHAT, TENANT, **{**ASK, "retrieval": {}})).status_code == 503
    await told.say("d1", 1, "Apixaban dose is 5 mg.", tenant=OTHER)
    await told.ask(OTHER, retrieval={})
    assert indexes.held_tenants() == (OTHER,)
    await indexes.drop_idle(3600)
    assert indexes.held_tenants() == (OTHER,)
    await indexes.drop_idle(-1)
    assert indexes.held_tenants() == ()
    indexes.max_bytes = 1
    assert (await told.bench.post(CHAT, OTHER, **{**ASK, "retrieval": {}})).status_code == 503


async def test_a_tenant_whose_index_has_no_room_is_told_when_to_try_again_and_nobody_else_waits(told: Told) -> None:
    indexes = told.bench.indexes
    texts = ["Which dose of apixaban? " * 20] * 40
    for tenant in (TENANT, OTHER):
        await told.say("d1", 1, *texts, tenant=tenant)
    await told.ask(retrieval={})
    [index] = indexes._indexes.values()
    indexes.max_bytes = index.size_bytes * 3 // 2
    answer = await told.bench.post(CHAT, OTHER, **{**ASK, "retrieval": {}})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert answer.json()["error"]["code"] == "retrieval_unavailable"
    assert cited(await told.ask(retrieval={}))
    assert [*indexes._indexes.values()] == [index]


async def test_a_set_that_was_replaced_and_erased_since_the_state_was_read_is_not_missed(told: Told) -> None:
    await told.say("d1", 1, "Apixaban dose is 5 mg.")
    told.bench.views.ttl_seconds = 3600.0
    await told.ask()  # the view is read, the index is not
    await told.say("d1", 2, "Apixaban dose is 2.5 mg.")
    assert cited(await told.ask(retrieval={})) == [("d1", 2, "Apixaban dose is 2.5 mg.")]
    store = await told.bench.tenancy.store(TENANT)
    told.bench.views.forget(TENANT)
    await told.bench.indexes.drop_idle(-1)
    await store.erase_folder("knowledge", "segments")
    assert (await told.bench.post(CHAT, TENANT, **{**ASK, "retrieval": {}})).status_code == 503


async def test_what_is_dropped_while_a_later_set_is_opened_is_opened_again(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index of several segments, of which the later set shares one."""
    indexes = told.bench.indexes
    await told.say("d1", 1, "Apixaban dose is 5 mg.")
    await told.ask(retrieval={})
    await told.say("d2", 1, "Apixaban dose at night is none.")

    async def while_dropped(store: TenantStore, entry: SegmentEntry) -> bytes:
        await indexes.drop_idle(-1)
        return await read_segment(store, entry)

    monkeypatch.setattr("inference.knowledge.loaded_indexes.read_segment", while_dropped)
    passages = {passage for _, _, passage in cited(await told.ask(retrieval={}))}
    assert passages == {"Apixaban dose is 5 mg.", "Apixaban dose at night is none."}
