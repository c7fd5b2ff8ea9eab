"""Documents come in any order and any number of times: the highest version counts, and what is removed is gone."""

from __future__ import annotations

import itertools

import pytest

from consumers.knowledge import handlers, segmenting
from schemas.bus.envelope import Event
from schemas.bus.events import UsageRecorded
from schemas.bus.outcome import Outcome
from schemas.objects.state import TenantState
from schemas.tenant.holds import LegalHold
from tenancy.errors import ContendedState, Contradicted, Refused, TenantFenced
from tenancy.knowledge import published
from tests.fixtures.embedders import WordEmbedder
from tests.fixtures.gates import NAME
from tests.unit.knowledge.index_parts import TENANT, Documents, Index, index
from tests.unit.operator_parts import NOW


@pytest.fixture
async def made() -> Index:
    return await index()


async def dies(made: Index, monkeypatch: pytest.MonkeyPatch, step: str, event: Event[Documents]) -> None:
    """A process that handles the event ends just before this step."""

    async def died(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(handlers, step, died)
        with pytest.raises(OSError):
            await made.handle(event)


async def test_an_updated_document_replaces_all_its_passages_by_one_swap(made: Index) -> None:
    first = await made.upserted("d1", 1, "Apixaban 5 mg.", "x " * 400)
    other = await made.upserted("d2", 1, "Call the pharmacy.")
    assert await made.handle(first, other) == [Outcome.EFFECT] * 2
    before = (await made.parts.tenancy.states.read(TENANT)).state.rev
    assert await made.handle(await made.upserted("d1", 2, "Apixaban 10 mg.")) == [Outcome.EFFECT]
    assert await made.texts() == ["Apixaban 10 mg.", "Call the pharmacy."]
    assert (await made.parts.tenancy.states.read(TENANT)).state.rev == before + 1
    assert made.objects("documents") == ["d1/2", "d2/1"], "the text that was replaced is erased"
    assert len(made.objects("sets")) == 1
    assert len(made.objects("segments")) == len((await made.held()).segments)


async def test_what_the_embedder_reads_for_an_index_is_the_tenants_usage_once(
    made: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await made.upserted("d1", 1, "one two"), await made.upserted("d2", 1, "three")
    for event in (first, second, first, second, made.removed("d1", 1)):
        await made.handle(event)
    told = [event.data for event in made.parts.publisher.events if isinstance(event.data, UsageRecorded)]
    tokens = [
        (await made.embedder.embed([passage], "passage")).tokens
        for passage in ("Formulary: one two", "Formulary: three")
    ]
    assert [(one.source, one.embedding_tokens) for one in told] == [("knowledge", count) for count in tokens]
    assert len({one.usage_id for one in told}) == 2

    third = await made.upserted("d3", 1, "four")
    await dies(made, monkeypatch, "publish", third)
    assert await made.handle(third) == [Outcome.EFFECT]
    again = [event.data for event in made.parts.publisher.events if isinstance(event.data, UsageRecorded)][2:]
    assert len(again) == 2 and again[0] == again[1], "it counts once"


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
async def test_every_order_and_any_redelivery_of_a_documents_history_ends_the_same(
    made: Index, order: tuple[int, ...]
) -> None:
    history: list[Event[Documents]] = [
        await made.upserted("d1", 1, "one"),
        await made.upserted("d1", 2, "two"),
        made.removed("d1", 2),
        await made.upserted("d2", 1, "other"),
    ]
    for number in order:
        await made.handle(history[number], history[number])
    await made.handle(*(history[number] for number in reversed(order)))
    assert await made.texts() == ["other"]
    held = await made.held()
    assert [(name, entry.version, entry.status) for name, entry in sorted(held.documents.items())] == [
        ("d1", 2, "removed"),
        ("d2", 1, "present"),
    ]
    assert made.objects("documents") == ["d2/1"]


async def test_a_document_may_come_back_in_a_higher_version_than_its_removal(made: Index) -> None:
    await made.handle(await made.upserted("d1", 1, "one"), made.removed("d1", 3))
    assert await made.handle(await made.upserted("d1", 3, "three")) == [Outcome.NOOP_STALE]
    assert await made.texts() == []
    assert await made.handle(await made.upserted("d1", 4, "four")) == [Outcome.EFFECT]
    assert await made.texts() == ["four"]


async def test_a_redelivery_changes_nothing_and_finishes_the_erasure_that_was_cut_off(
    made: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made.handle(await made.upserted("d1", 1, "one"))
    second = await made.upserted("d1", 2, "two")
    await dies(made, monkeypatch, "erase_unnamed", second)
    assert made.objects("documents") == ["d1/1", "d1/2"]
    published = (await made.parts.tenancy.states.read(TENANT)).state.knowledge
    assert await made.handle(second) == [Outcome.NOOP_DUPLICATE]
    assert made.objects("documents") == ["d1/2"]
    assert (len(made.objects("segments")), len(made.objects("sets"))) == (1, 1)
    assert (await made.parts.tenancy.states.read(TENANT)).state.knowledge == published


async def test_what_a_process_left_that_died_before_its_swap_is_erased_and_never_published(
    made: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await made.upserted("d1", 1, "one")
    await dies(made, monkeypatch, "publish", first)
    assert len(made.objects("segments")) == 1
    await made.handle(made.removed("d1", 1), first)
    assert made.objects("segments") == []
    assert made.objects("documents") == []


async def test_who_lost_the_race_publishes_nothing_over_what_the_other_published(
    made: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await made.upserted("d1", 1, "one"), await made.upserted("d2", 1, "two")
    real = published.publish

    async def after_another(*arguments: object) -> object:
        monkeypatch.setattr(handlers, "publish", real)
        await made.handle(second)
        return await real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(handlers, "publish", after_another)
    with pytest.raises(ContendedState):
        await made.handle(first)
    assert await made.texts() == ["two"]
    await made.handle(first)
    assert await made.texts() == ["one", "two"]
    assert len(made.objects("sets")) == 1


async def test_another_text_or_other_dates_under_the_same_version_are_refused(made: Index) -> None:
    await made.handle(await made.upserted("d1", 1, "one"))
    with pytest.raises(Contradicted):
        await made.handle(await made.upserted("d1", 1, "one", begins=NOW))
    assert await made.texts() == ["one"]


async def test_a_run_is_published_by_one_swap_and_ends_where_it_would_take_too_long(
    made: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = [await made.upserted(f"d{number}", 1, f"text {number}") for number in range(5)]
    before = (await made.parts.tenancy.states.read(TENANT)).state.rev
    assert await made.handle_run(run) == [Outcome.EFFECT] * 5
    assert (await made.parts.tenancy.states.read(TENANT)).state.rev == before + 1
    assert len(made.embedder.kinds) == 1
    monkeypatch.setattr(handlers, "RUN_PASSAGES", 1)
    more = [await made.upserted(f"e{number}", 1, f"more {number}") for number in range(5)]
    assert await made.handle_run(more) == [Outcome.EFFECT] * 2
    assert len(await made.texts()) == 7


async def test_small_segments_are_joined_and_nothing_is_embedded_again(
    made: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        await made.handle(await made.upserted(f"d{number:02}", 1, f"text {number}"))
    held = await made.held()
    assert len(held.segments) <= segmenting.OPEN
    assert sum(segment.passages for segment in held.segments) == 30
    assert len(await made.texts()) == 30
    assert len(made.embedder.kinds) == 30
    [best, *_] = await made.search("text 17")
    assert (best.passage.document_id, best.passage.text) == ("d17", "text 17")
    assert best.similarity == pytest.approx(1.0, abs=0.2)


async def test_inline_text_is_judged_by_the_gate_unless_an_operator_states_that_it_names_nobody(made: Index) -> None:
    with pytest.raises(Refused) as refused:
        await made.handle(await made.inline("d1", 1, f"Call {NAME}."))
    assert refused.value.code == "identifiers-found"
    assert NAME not in str(refused.value)
    assert made.objects("documents") == []
    await made.handle(await made.inline("d1", 1, "Call the ward."))
    await made.handle(await made.inline("d2", 1, f"{NAME} wrote this.", stated_by="op-1"))
    assert await made.texts() == ["Call the ward.", f"{NAME} wrote this."]


async def test_a_claim_check_counts_only_for_what_was_uploaded_as_this_version(made: Index) -> None:
    event = await made.upserted("d1", 1, "one")
    store = await made.parts.tenancy.store(TENANT)
    await store.erase("knowledge/documents/d1/1")
    with pytest.raises(Refused, match="not uploaded"):
        await made.handle(event)
    await made.upserted("d1", 1, "another text")
    with pytest.raises(Refused, match="committed"):
        await made.handle(event)
    foreign = event.data.content.evolve(reference=event.data.content.reference.evolve(document_id="d9"))
    with pytest.raises(Refused, match="another document"):
        await made.handle(made.event(event.data.evolve(content=foreign)))
    assert await made.texts() == []


async def test_a_passage_that_the_embedder_does_not_read_as_a_whole_is_indexed_in_parts(made: Index) -> None:
    made.embedder.longest = 20
    said = " ".join(f"w{number}" for number in range(60))
    await made.handle(await made.upserted("d1", 1, said))
    texts = await made.texts()
    assert len(texts) > 2
    assert sorted(word for text in texts for word in text.split()) == sorted(said.split())


async def test_vectors_of_another_embedder_are_kept_apart_and_still_found_by_words(made: Index) -> None:
    await made.handle(await made.upserted("d1", 1, "old words"))
    made.embedder = WordEmbedder("other")
    await made.handle(await made.upserted("d2", 1, "new words"))
    assert sorted(segment.embedder for segment in (await made.held()).segments) == ["other", "words"]
    await made.handle(await made.upserted("d1", 2, "old words"))
    assert {segment.embedder for segment in (await made.held()).segments} == {"other"}


async def test_nothing_is_indexed_for_a_fenced_tenant(made: Index) -> None:
    event = await made.upserted("d1", 1, "one")
    await made.parts.tenancy.states.swap(TENANT, lambda state: state.evolve(status="purging"))
    with pytest.raises(TenantFenced):
        await made.handle(event)
    assert made.objects("segments") == []


async def test_a_legal_hold_keeps_the_text_of_a_removed_document_and_nothing_cites_it(made: Index) -> None:
    hold = LegalHold(hold_id="h1", reason_code="litigation", placed_at=NOW, placed_by="op")

    def held(state: TenantState) -> TenantState:
        return state.evolve(holds=(hold,))

    await made.handle(await made.upserted("d1", 1, "one"))
    await made.parts.tenancy.states.swap(TENANT, held)
    removed = made.removed("d1", 1)
    await made.handle(removed)
    assert await made.texts() == []
    assert made.objects("documents") == ["d1/1"]
