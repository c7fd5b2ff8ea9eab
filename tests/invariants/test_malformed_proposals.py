"""Malformed proposals, as a publisher with a client of its own may send them: there is no sender to be told, so each
becomes a dead letter that says why and holds no text, and the good ones between them wait for review."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random

from consumers.runtime.poison import HANDLER_ERROR
from producers.queries.proposals import open_proposals
from schemas.bus.content import DocumentBlock, DocumentContent, InlineContent
from schemas.bus.envelope import DataT, Event, encode
from schemas.bus.events import ExampleProposed
from tenancy.storage.keys import encrypt_inline
from tenancy.tenant_id import TenantId
from tests.attack.fuzzed_events import Mutations
from tests.fixtures.gates import NAME
from tests.fixtures.records import raw_record, record_of
from tests.invariants.test_quiet import log_lines
from tests.invariants.worlds import DispatchedWorld
from tests.unit.damaged_bytes import damaged_bytes

COUNT, GOOD = 500, 5
ODD = (b"{", b"]", b'"', b"\xff", b".", b"null", b"1e999", b"[" * 200)


async def test_five_hundred_malformed_proposals_are_dead_lettered_without_text_and_hold_up_none_of_the_good_ones(
    tmp_path: Path,
) -> None:
    world, draw = DispatchedWorld(tmp_path), Random(23)
    tenant = await world.onboard("t1")
    curation = next(service for service in world.services if service.name == "curation")
    mutations = Mutations(("e1", "consent-1", "t1"), ("a" * 64,), "marker")
    document = DocumentContent(title=NAME, blocks=(DocumentBlock(kind="text", text=NAME),), salt="5" * 64)

    def event(data: DataT) -> Event[DataT]:
        return Event(tenant, data, world.now, "/publisher")

    def proposed(number: int, of: TenantId = tenant) -> ExampleProposed:
        return world.proposal(of, f"bad-{number}", text=f"Ask {NAME}:")

    with log_lines() as log:
        for number in range(COUNT):
            data = proposed(number)
            committed = data.content
            match number % 8:
                case 0:  # nobody redacted it
                    record = record_of(event(data))
                case 1:  # for somebody else
                    record = record_of(event(proposed(number, TenantId("stranger"))))
                case 2:  # another text than was committed to
                    record = record_of(event(data.evolve(content=committed.evolve(commitment="f" * 64))))
                case 3:  # no example
                    reference = InlineContent(jwe=encrypt_inline(world.public_keys[tenant], document))
                    record = record_of(event(data.evolve(content=committed.evolve(reference=reference))))
                case 4:  # by who did not read the contract: the text in clear, in an event and in none
                    message = encode(event(data))
                    value = json.dumps({**json.loads(message.value), "text": NAME}).encode()
                    record = raw_record(message.topic, message.key, value, message.headers)
                case 5:
                    message = encode(event(data))
                    record = raw_record(message.topic, message.key, f"Ask {NAME}".encode(), message.headers)
                case 6:
                    message = encode(event(data))
                    value = damaged_bytes(draw, message.value, ODD)
                    record = raw_record(message.topic, message.key, value, message.headers)
                case _:
                    record = mutations.record(event(data), draw)
            await world.dispatch(curation, record)
            if number % (COUNT // GOOD) == 0:
                await world.dispatch(curation, record_of(event(world.proposal(tenant, f"good-{number}"))))
        said = log.getvalue()
    letters = world.bus.dead
    reasons = Counter((dict(letter.headers)["dlq_reason"] or b"").decode() for letter in letters)
    assert letters
    assert HANDLER_ERROR not in reasons, "somebody raised what nobody foresaw"
    assert min(reasons[code] for code in ("identifiers-found", "commitment-mismatch", "bad-content")) > COUNT // 10
    for text in (said, *world.errors, *(f"{letter.key!r}{letter.value!r}{letter.headers!r}" for letter in letters)):
        assert NAME not in text
    waiting = {view.example_id for view in await open_proposals(world.outside, tenant)}
    assert waiting == {f"good-{number}" for number in range(0, COUNT, COUNT // GOOD)}
    assert len(world.outcomes) == COUNT + GOOD, "nothing was lost"
