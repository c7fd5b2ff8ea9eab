"""What a source does before anything leaves the hospital: redact, encrypt, propose. The same again is one event."""

from __future__ import annotations

import base64
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from producers.sources.proposed import propose_whole
from producers.sources.proposing import Proposer, public_key_of, read_public_key
from producers.sources.raw_file import RawFile
from producers.sources.source import Candidate
from producers.sources.source_key import SourceKey
from schemas.bus import events
from schemas.bus.content import ChatMessage, ExampleContent
from schemas.bus.outcome import Outcome
from tenancy.bus import RecordingPublisher
from tenancy.errors import BusUnavailable, Refused
from tenancy.redaction.dates import find
from tenancy.redaction.gate import UnionGate
from tenancy.redaction.port import Span
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import GATE, NAME
from tests.unit.operator_parts import NOW, Parts, onboarded_parts
from tests.unit.proposal_parts import Review

TENANT = TenantId("t1")
RAW = f"May {NAME}, 4482913, have ibuprofen?"
ANSWER = "No. House rule: paracetamol."


def candidate(number: int = 0, **said: Any) -> Candidate:
    messages = (ChatMessage(role="user", content=f"{RAW} {number}"), ChatMessage(role="assistant", content=ANSWER))
    return Candidate(**{"messages": messages, "natural_key": f"MSG{number}|ward of {NAME}", **said})


async def proposer_of(held: Parts) -> Proposer:
    key = public_key_of(await held.tenancy.keys.public_key(TENANT))
    return Proposer(TENANT, key, SourceKey(b"k" * 32), GATE, held.publisher, "/test", lambda: NOW)


def write(tmp_path: Path, *lines: dict[str, Any] | str) -> Path:
    path = tmp_path / "raw.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def line(number: int = 0, **said: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"{RAW} {number}"}, {"role": "assistant", "content": ANSWER}]
    return {"messages": turns, **said}


class Dates:
    name = "dates"

    def find(self, text: str) -> list[Span]:
        return [Span(start, end, kind, self.name) for start, end, kind in find(text)]


async def test_dates_are_shifted_where_the_source_is_told_to_and_an_examples_next_version_moves_them_as_far() -> None:
    held = await onboarded_parts(TENANT)
    proposer = replace(await proposer_of(held), gate=UnionGate("dates", "1", [Dates()]), shift_dates=True)
    store = await held.tenancy.store(TENANT)

    def shown(version: int, natural_key: str) -> str:
        text = ChatMessage(role="user", content="seen 2024-03-14 and 2024-03-20")
        said = candidate(messages=(text, ChatMessage(role="assistant", content="ok")), version=version)
        made = proposer.proposal("file", replace(said, natural_key=natural_key))
        return store.keys.decrypt_inline(made.content.reference.jwe, ExampleContent).messages[0].content

    first = shown(1, "a")
    assert re.fullmatch(r"seen \[DATE-1 21\d\d-\d\d-\d\d\] and \[DATE-2 21\d\d-\d\d-\d\d\]", first)
    assert shown(2, "a") == first != shown(1, "b")


async def test_a_candidate_arrives_at_curation_redacted_and_nothing_of_it_is_anywhere_in_clear() -> None:
    held = await onboarded_parts(TENANT)
    proposer = await proposer_of(held)
    made = await proposer.propose("file", candidate())
    [event] = held.publisher.events
    held.publisher.events.clear()
    assert await Review(held, TENANT).handle(event) == [Outcome.EFFECT]
    store = await held.tenancy.store(TENANT)

    async def keys_of(area: str) -> list[str]:
        return [key async for key in store.list(area)]

    body, _ = await store.get(f"contents/{made.example_id}/1")
    assert [turn["content"] for turn in json.loads(body)["messages"]] == [
        "May [PATIENT-1], [MRN-1], have ibuprofen? 0",
        ANSWER,
    ]
    assert [(span.kind, span.count) for span in made.redaction.counts] == [("MRN", 1), ("PATIENT", 1)]
    opened = [(await store.get(key))[0] for area in ("contents", "proposals") for key in await keys_of(area)]
    for trace in (NAME, "4482913", "MSG0"):
        assert trace not in event.data.model_dump_json()
        assert all(trace.encode() not in one for one in opened), "not even opened"
        assert trace not in repr(candidate()) + repr(proposer) + "".join(held.stored_keys())


async def test_the_same_occurrence_proposed_again_is_the_same_event_with_the_same_commitment() -> None:
    held = await onboarded_parts(TENANT)
    proposer = await proposer_of(held)
    first, again, other = [await proposer.propose("file", candidate(number)) for number in (0, 0, 1)]
    assert (first.example_id, first.content.commitment) == (again.example_id, again.content.commitment)
    assert other.example_id != first.example_id
    review, published = Review(held, TENANT), list(held.publisher.events)
    held.publisher.events.clear()
    assert published[0].id == published[1].id
    assert await review.handle(*published) == [Outcome.EFFECT, Outcome.NOOP_DUPLICATE, Outcome.EFFECT]


def test_ids_and_salts_need_the_sources_key_and_differ_by_tenant() -> None:
    keys = SourceKey(b"k" * 32), SourceKey(b"l" * 32)
    ids = {key.opaque_id("example", tenant, "MSG1|WARD") for key in keys for tenant in ("t1", "t2")}
    salts = {key.salt(tenant, "e", 1, candidate().messages) for key in keys for tenant in ("t1", "t2")}
    assert (len(ids), len(salts)) == (4, 4)
    assert "6b" * 32 not in repr(keys[0])
    assert "kkk" not in repr(keys[0])


async def test_a_whole_file_is_proposed_after_its_consents_or_nothing_of_it(tmp_path: Path) -> None:
    held = await onboarded_parts(TENANT)
    proposer = await proposer_of(held)
    good = [line(number, consent="consent-1", author="author-1") for number in range(3)]
    with pytest.raises(Refused, match=r"raw.jsonl:4: refused"):
        await propose_whole(proposer, RawFile(write(tmp_path, *good, line(4, reviewer="rev-1"))))
    with pytest.raises(Refused, match="line 1 again"):
        await propose_whole(proposer, RawFile(write(tmp_path, *good, good[0])))
    assert held.publisher.events == []
    proposed = await propose_whole(proposer, RawFile(write(tmp_path, *good)))
    assert (len(proposed.proposals), proposed.granted, proposed.redacted) == (3, 1, 6)
    assert held.types() == ["consent.granted", *["example.proposed"] * 3]
    assert all(
        e.data.author_id == "author-1" for e in held.publisher.events if isinstance(e.data, events.ExampleProposed)
    )


async def test_five_hundred_malformed_files_are_refused_in_words_that_quote_nothing(tmp_path: Path) -> None:
    held = await onboarded_parts(TENANT)
    proposer, draw = await proposer_of(held), random.Random(7)
    good = json.dumps(line(0))
    for number in range(500):
        at = draw.randrange(len(good))
        bad = draw.choice(
            [
                good[:at],
                good[:at] + draw.choice('"{}[]:,\\\x00é') + good[at + 1 :],
                json.dumps(line(0, **{draw.choice(["author", "consent", "example_id", "version", "x"]): [RAW]})),
                json.dumps({"messages": draw.choice([[], RAW, [RAW], [{"role": RAW, "content": RAW}] * 2, None])}),
            ]
        )
        try:
            await propose_whole(proposer, RawFile(write(tmp_path, bad)))
        except Refused as refused:
            assert NAME not in str(refused), number
            assert "4482913" not in str(refused), number
        else:
            held.publisher.events.clear()  # the damage was inside a text, and it is a text still


async def test_a_bus_that_does_not_answer_is_no_proposal() -> None:
    class Broken(RecordingPublisher):
        async def publish(self, event: Any) -> None:
            raise BusUnavailable("the bus does not answer")

    held = await onboarded_parts(TENANT)
    held.publisher = Broken()
    with pytest.raises(BusUnavailable):
        await (await proposer_of(held)).propose("file", candidate())


def test_a_source_reads_only_a_public_key_and_only_a_private_key_file(tmp_path: Path) -> None:
    pair = OKPKey.generate_key("X25519")
    path = tmp_path / "jwk.json"
    for jwk in (pair.as_dict(private=True), OKPKey.generate_key("Ed25519").as_dict(private=False), {"kty": "OKP"}, 5):
        path.write_text(json.dumps(jwk))
        with pytest.raises(Refused, match="without its private half"):
            read_public_key(path)
    path.write_text(json.dumps(pair.as_dict(private=False)))
    assert read_public_key(path).thumbprint() == pair.thumbprint()
    secret = tmp_path / "source.key"
    with pytest.raises(Refused, match="SANO_SOURCE_KEY_FILE"):
        SourceKey.read(secret)
    secret.write_bytes(base64.b64encode(b"k" * 32))
    secret.chmod(0o644)
    with pytest.raises(Refused, match="readable by others"):
        SourceKey.read(secret)
    secret.chmod(0o600)
    assert SourceKey.read(secret) == SourceKey(b"k" * 32)
    secret.write_bytes(b"short")
    with pytest.raises(Refused, match="32 bytes"):
        SourceKey.read(secret)
