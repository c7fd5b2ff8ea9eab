"""HL7 v2 over MLLP: whatever a sender sends gets an answer, AA only once the bus has it, and nothing is quoted."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from producers.operations.trust_admin import ensure_keys
from producers.sources.mllp import app as mllp_app
from producers.sources.mllp.app import taking
from producers.sources.mllp.conversations import Codes
from producers.sources.mllp.framing import END, START, framed, frames
from producers.sources.mllp.listener import Limits, Listener
from producers.sources.mllp.message import Unreadable, read_message
from producers.sources.mllp.settings import MllpSettings
from producers.sources.proposing import Proposer
from producers.sources.source_key import SourceKey
from schemas.bus.envelope import Event
from schemas.bus.events import ExampleProposed
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import ROOT_PUBLIC_FILE, TRUST_FILE, key_file
from tenancy.bus import RecordingPublisher
from tenancy.errors import BusUnavailable
from tenancy.evidence.event_signatures import EventSigner
from tenancy.evidence.keys import LocalKey
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import GATE, NAME
from tests.unit.operator_parts import NOW, onboarded_parts
from tests.unit.proposal_parts import Review

TENANT = TenantId("t1")
SECONDS = 20


def mdm(control: str = "MSG1", question: str = f"May {NAME}, 4482913, have it?", **said: str) -> bytes:
    fields = {"type": "MDM^T02", "facility": "WARD9", "charset": "", **said}
    return "\r".join(
        [
            f"MSH|^~\\&|EHR|{fields['facility']}|SANO|X|20260301||{fields['type']}|{control}|P|2.5.1||||||{fields['charset']}",
            f"PID|1||4482913^^^MRN||{NAME}",
            "TXA|1|CN|||||||Dr Who^Staff",
            f"OBX|1|TX|QUESTION||{question}",
            "OBX|2|TX|ANSWER||No.",
            "OBX|3|TX|ANSWER||House rule: paracetamol.",
            "",
        ]
    ).encode()


class Bus(RecordingPublisher):
    """Waits, or is broken, when a test says so."""

    gate: asyncio.Event | None = None
    is_broken = False

    async def publish(self, event: Event) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.is_broken:
            raise BusUnavailable("the bus does not answer")
        await super().publish(event)


def listener(bus: Bus, **limits: Any) -> Listener:
    proposer = Proposer(TENANT, OKPKey.generate_key("X25519"), SourceKey(b"k" * 32), GATE, bus, "/test", lambda: NOW)
    return Listener(taking(proposer, Codes()), Limits(**{"idle_seconds": SECONDS, "stop_seconds": SECONDS, **limits}))


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(held: Listener) -> AsyncIterator[Connection]:
    async with held.listening("127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[str, str, str]:
    """Code, control id and reason of the next answer."""
    async with asyncio.timeout(SECONDS):
        frame = await reader.readuntil(END)
    message = read_message(frame.removeprefix(START).removesuffix(END))
    msa = message.first("MSA")
    return message.part(msa, 1), message.part(msa, 2), message.part(msa, 3)


def proposals(bus: Bus) -> list[ExampleProposed]:
    return [event.data for event in bus.events if isinstance(event.data, ExampleProposed)]


async def test_a_message_becomes_a_redacted_proposal_and_says_nothing_of_the_patient() -> None:
    bus = Bus()
    async with connected(listener(bus)) as (reader, writer):
        writer.write(framed(mdm()))
        assert await answer(reader) == ("AA", "MSG1", "")
    [event] = bus.events
    for trace in (NAME, "4482913", "MSG1", "WARD9", "Who"):
        assert trace not in event.data.model_dump_json()
    [proposed] = proposals(bus)
    assert (proposed.source, proposed.redaction.counts[0].kind) == ("hl7", "MRN")
    assert proposed.author_id is not None
    assert proposed.consent_id is not None


async def test_what_is_proposed_is_the_conversation_and_curation_takes_it() -> None:
    held, bus = await onboarded_parts(TENANT), Bus()
    key = OKPKey.import_key(dict(await held.tenancy.keys.public_key(TENANT)))
    take = taking(Proposer(TENANT, key, SourceKey(b"k" * 32), GATE, bus, "/test", lambda: NOW), Codes())
    await Listener(take).answers(mdm(question="A \\T\\ B\\.br\\C \\X41\\ \\Zx\\"))
    await Review(held, TENANT).handle(*bus.events)
    [data] = proposals(bus)
    body, _ = await (await held.tenancy.store(TENANT)).get(f"contents/{data.example_id}/1")
    assert rb'"content":"A & B\nC A"' in body
    assert rb"No.\nHouse rule: paracetamol." in body


async def test_the_source_signs_what_it_publishes_with_the_key_that_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or an installation whose publishers all sign would dead-letter every proposal."""
    given = []

    class Noting(RecordingPublisher):
        def __init__(self, _: object, signer: EventSigner | None = None) -> None:
            super().__init__()
            given.append(signer)

        async def __aenter__(self) -> Noting:
            signal.raise_signal(signal.SIGTERM)
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

    ensure_keys(tmp_path)
    jwk = OKPKey.generate_key("X25519", private=False).as_dict()
    (tmp_path / "jwk.json").write_text(json.dumps(jwk))
    (tmp_path / "source.key").touch(mode=0o600)
    (tmp_path / "source.key").write_bytes(base64.b64encode(bytes(32)))
    key = key_file(tmp_path, Purpose.EVENT, "operators")
    settings = MllpSettings(
        kafka_bootstrap_servers="k:1",
        source_tenant="t1",
        source_jwk_file=tmp_path / "jwk.json",
        source_key_file=tmp_path / "source.key",
        hl7_port=0,
        trust_file=tmp_path / TRUST_FILE,
        trust_root_file=tmp_path / ROOT_PUBLIC_FILE,
        event_key=str(key),
    )
    monkeypatch.setattr(mllp_app, "KafkaPublisher", Noting)
    monkeypatch.setattr(mllp_app, "standard_gate", lambda: GATE)
    async with asyncio.timeout(SECONDS):
        await mllp_app.run(settings)
    [signer] = given
    assert signer is not None
    assert signer.signer.key_id == LocalKey.read(key, "the test").public_key.key_id


async def test_nothing_is_accepted_before_the_bus_has_it() -> None:
    bus = Bus()
    bus.gate = asyncio.Event()
    async with connected(listener(bus)) as (reader, writer):
        writer.write(framed(mdm()))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        bus.gate.set()
        assert await answer(reader) == ("AA", "MSG1", "")
        bus.is_broken = True
        writer.write(framed(mdm("MSG2")))
        assert await answer(reader) == ("AE", "MSG2", "not-now")
        bus.is_broken = False
        writer.write(framed(mdm("MSG2")))
        assert await answer(reader) == ("AA", "MSG2", "")
    assert len(bus.events) == 2


async def test_a_message_that_comes_again_is_the_same_event_and_of_another_facility_another() -> None:
    bus = Bus()
    held = listener(bus)
    for payload in (mdm(), mdm(), mdm(facility="WARD8")):
        await held.answers(payload)
    ids = [event.id for event in bus.events]
    assert (ids[0] == ids[1], ids[0] == ids[2]) == (True, False)
    assert len({data.content.commitment for data in proposals(bus)[:2]}) == 1


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_frames_are_found_however_the_stream_is_cut_and_whatever_stands_between(size: int) -> None:
    payloads = [mdm(f"MSG{number}") for number in range(3)]
    stream = b"noise\r\n" + b"\r".join(map(framed, payloads)) + START + b"MSH|cut off"
    reader = asyncio.StreamReader()

    async def feed() -> None:
        for at in range(0, len(stream), size):
            reader.feed_data(stream[at : at + size])
            await asyncio.sleep(0)
        reader.feed_eof()

    feeding = asyncio.create_task(feed())
    assert [payload async for payload in frames(reader, 10_000, SECONDS)] == payloads
    await feeding


async def test_several_messages_in_one_write_and_in_one_frame_are_answered_one_by_one_in_order() -> None:
    bus = Bus()
    batch = b"FHS|^~\\&\rBHS|^~\\&\r" + mdm("B1") + mdm("B2", type="ADT^A08") + b"BTS|2\rFTS|1\r"
    async with connected(listener(bus)) as (reader, writer):
        writer.write(framed(mdm("M1")) + framed(batch) + framed(b"garbage"))
        said = [await answer(reader) for _ in range(4)]
    assert said == [
        ("AA", "M1", ""),
        ("AA", "B1", ""),
        ("AR", "B2", "unsupported-type"),
        ("AR", "", "not-hl7"),
    ]


async def test_odd_separators_and_character_sets_are_read_as_the_message_declares_them() -> None:
    bus = Bus()
    odd = mdm().decode().translate(str.maketrans("|^~\\&", "#!*%$"))
    held = listener(bus)
    assert b"MSA|AA|MSG1" in (await held.answers(odd.encode()))[0]
    latin = mdm(question="Fièvre ?", charset="8859/1").decode().encode("iso-8859-1")
    assert b"MSA|AA" in (await held.answers(latin))[0]
    assert b"not-in-its-character-set" in (await held.answers(mdm(question="Fièvre ?", charset="ASCII")))[0]
    assert b"unknown-character-set" in (await held.answers(mdm(charset="KLINGON")))[0]
    assert len(bus.events) == 2


async def test_a_result_without_a_conversation_is_accepted_and_one_without_an_answer_is_not() -> None:
    bus = Bus()
    held = listener(bus)
    lab = b"MSH|^~\\&|LAB|W|||20260301||ORU^R01|L1|P|2.5.1\rOBX|1|NM|718-7^Hb||13.2\r"
    assert b"MSA|AA|L1|" in (await held.answers(lab))[0]
    half = lab.replace(b"718-7^Hb", b"QUESTION")
    assert b"MSA|AR|L1|no-answer" in (await held.answers(half))[0]
    assert b"no-control-id" in (await held.answers(lab.replace(b"|L1|", b"||")))[0]
    assert bus.events == []


async def test_a_frame_without_end_is_refused_at_the_bound_and_its_connection_closed() -> None:
    bus = Bus()
    async with connected(listener(bus, message_bytes=5_000)) as (reader, writer):
        writer.write(START + mdm("BIG") + b"x" * 10_000)
        assert await answer(reader) == ("AR", "BIG", "message-too-large")
        async with asyncio.timeout(SECONDS):
            assert await reader.read() == b""
    assert bus.events == []


async def test_a_stop_answers_what_is_in_hand_and_takes_nothing_more() -> None:
    bus = Bus()
    bus.gate = asyncio.Event()
    held = listener(bus)
    async with held.listening("127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(mdm("M1")))
        await asyncio.sleep(0.1)
        writer.write(framed(mdm("M2")))
        asyncio.get_running_loop().call_later(0.2, bus.gate.set)
    assert await answer(reader) == ("AA", "M1", "")
    async with asyncio.timeout(SECONDS):
        assert await reader.read() == b"", "the second has no answer, and comes again"
    assert len(bus.events) == 1
    writer.close()


async def test_more_connections_than_the_bound_are_closed_and_the_first_goes_on() -> None:
    bus = Bus()
    held = listener(bus, connections=1)
    async with held.listening("127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(framed(mdm()))
        assert (await answer(reader))[0] == "AA"
        other, second = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(SECONDS):
            assert await other.read() == b""
        writer.write(framed(mdm("M2")))
        assert (await answer(reader))[0] == "AA"
        writer.close()
        second.close()


async def test_five_hundred_damaged_messages_are_each_answered_quote_nothing_and_leave_the_source_alive() -> None:
    bus, draw, log = Bus(), random.Random(3), io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    try:
        held, good = listener(bus), mdm()
        for number in range(500):
            body = bytearray(good)
            for _ in range(draw.randrange(1, 6)):
                at = draw.randrange(len(body))
                match draw.randrange(4):
                    case 0:
                        del body[at : at + draw.randrange(1, 40)]
                    case 1:
                        body[at] = draw.randrange(256)
                    case 2:
                        body[at:at] = bytes(draw.randrange(256) for _ in range(5))
                    case 3:
                        body[at:at] = draw.choice([b"\\X4\\", b"\\", b"\r", b"|||", b"MSH|", b"^~\\&"])
            answers = await held.answers(bytes(body))
            assert answers, number
            for said in answers:
                assert said.split(b"\r")[1][:7] in (b"MSA|AA|", b"MSA|AR|"), (number, said[-60:])
                assert NAME.encode() not in said
        assert b"MSA|AA|MSG1" in (await held.answers(good))[0]
    finally:
        logging.getLogger().removeHandler(handler)
    assert NAME not in log.getvalue()
    assert "4482913" not in log.getvalue()


@pytest.mark.parametrize("payload", [b"", b"MSH", b"MSH|", b"MSHA^~\\&|", b"MSH|^^\\&|x|", b"MSH|^~\\&|\rpid|1"])
def test_what_is_no_message_is_unreadable(payload: bytes) -> None:
    with pytest.raises(Unreadable):
        read_message(payload)
