"""HL7 v2 over MLLP: whatever a sender sends gets an answer, AA only once the bus has it, and nothing is quoted."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from producers.sources.mllp import app as mllp_app
from producers.sources.mllp import listener as mllp_listener
from producers.sources.mllp.app import Hl7Source, tls_context
from producers.sources.mllp.conversations import Codes, candidate_of
from producers.sources.mllp.framing import END, START, framed, frames
from producers.sources.mllp.listener import Limits, Listener
from producers.sources.mllp.message import Unreadable, read_message
from producers.sources.mllp.settings import MllpSettings
from producers.sources.mllp.taking import BatchFiles, taking
from producers.sources.proposed import Proposed, propose
from producers.sources.proposing import Proposer
from producers.sources.source_key import SourceKey
from schemas.bus.events import ConsentRevoked, ExampleProposed
from tenancy.errors import Refused
from tenancy.tenant_id import TenantId
from tests.fixtures.certificates import certificate
from tests.fixtures.gates import GATE, NAME
from tests.unit.damaged_bytes import damaged_bytes
from tests.unit.growth import MOST, growth
from tests.unit.operator_parts import NOW, onboarded_parts
from tests.unit.proposal_parts import Review
from tests.unit.source_parts import Bus, Noting, signing, told

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


def made_by(bus: Bus) -> Proposer:
    return Proposer(TENANT, OKPKey.generate_key("X25519"), SourceKey(b"k" * 32), GATE, bus, "/test", lambda: NOW)


def listener(bus: Bus, **limits: Any) -> Listener:
    return Listener(
        taking(made_by(bus), Codes()), Limits(**{"idle_seconds": SECONDS, "stop_seconds": SECONDS, **limits})
    )


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


async def test_a_segment_that_add_goes_on_with_is_one_and_a_part_of_a_message_is_no_message() -> None:
    bus = Bus()
    held = listener(bus)
    cut = mdm(question="May Mrs Exa").replace(b"Exa\r", b"Exa\rADD|mple have it?||||||||||Dr No\r")
    [said] = await held.answers(cut)
    assert b"MSA|AA|MSG1|" in said
    [proposed] = proposals(bus)
    assert [(one.kind, one.count) for one in proposed.redaction.counts] == [("PATIENT", 1)]
    bus.events.clear()
    for part in (mdm() + b"DSC|next|I\r", mdm().replace(b"|P|2.5.1||||||", b"|P|2.5.1||next||||")):
        assert b"MSA|AR|MSG1|part-of-a-message" in (await held.answers(part))[0]
    assert bus.events == []
    await held.answers(mdm() + b"DSC||\r")
    assert len(bus.events) == 1


@pytest.mark.parametrize("mark", [".sk2", ".in+4", ".ti", ".sp2", ".ce", ".br", ".nf"])
async def test_words_that_formatting_keeps_apart_stay_apart(mark: str) -> None:
    message = read_message(mdm(question=f"John\\{mark}\\Smith"))
    assert message.text(next(message.all("OBX")), 5).split() == ["John", "Smith"]


def settings(tmp_path: Path, **said: Any) -> MllpSettings:
    return MllpSettings(**{**told(tmp_path), "hl7_port": 0, **said})


@pytest.fixture
def without_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Noting, "given", [])
    monkeypatch.setattr(mllp_app, "KafkaPublisher", Noting)
    monkeypatch.setattr(mllp_app, "standard_gate", lambda: GATE)


@pytest.mark.usefixtures("without_kafka")
async def test_the_source_signs_what_it_publishes_with_the_key_that_it_was_given_and_is_ready_while_the_bus_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or an installation whose publishers all sign would dead-letter every proposal."""
    key_id, signs = signing(tmp_path)
    source = Hl7Source.of(settings(tmp_path, **signs))
    assert not await source.is_ready()
    async with source.running():
        assert await source.is_ready()
        reader, writer = await asyncio.open_connection("127.0.0.1", source.port)
        writer.write(framed(mdm()))
        assert await answer(reader) == ("AA", "MSG1", "")
        writer.close()
        monkeypatch.setattr(Noting, "does_answer", False)
        assert not await source.is_ready()
    assert not await source.is_ready()
    [signer] = Noting.given
    assert signer is not None
    assert signer.signer.key_id == key_id


# --- TLS


@pytest.mark.usefixtures("without_kafka")
async def test_with_tls_only_who_shows_a_certificate_of_the_authority_is_heard(tmp_path: Path) -> None:
    authority = certificate(tmp_path, "authority", None)
    stranger = certificate(tmp_path, "stranger", None)
    for name, by in (("listener", authority), ("sender", authority), ("intruder", stranger)):
        certificate(tmp_path, name, by)
    files = {
        "hl7_tls_certificate_file": tmp_path / "listener.pem",
        "hl7_tls_key_file": tmp_path / "listener.key",
        "hl7_tls_client_ca_file": tmp_path / "authority.pem",
    }
    with pytest.raises(ValueError, match="go together"):
        settings(tmp_path, **{**files, "hl7_tls_key_file": None})
    with pytest.raises(Refused, match="SANO_HL7_TLS"):
        tls_context(settings(tmp_path, **{**files, "hl7_tls_key_file": tmp_path / "sender.key"}))
    tls = tls_context(settings(tmp_path, **files))
    bus = Bus()
    async with listener(bus).listening("127.0.0.1", 0, tls) as port:

        async def said_to(who: str | None) -> str:
            context = ssl.create_default_context(cafile=tmp_path / "authority.pem")
            if who:
                context.load_cert_chain(tmp_path / f"{who}.pem", tmp_path / f"{who}.key")
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=context, server_hostname="localhost"
                )
                writer.write(framed(mdm()))
                said = (await answer(reader))[0]
                writer.close()
            except (ssl.SSLError, asyncio.IncompleteReadError, ConnectionError):
                return "closed"
            return said

        assert [await said_to(who) for who in ("sender", None, "intruder", "sender")] == [
            "AA",
            "closed",
            "closed",
            "AA",
        ]
    assert len(bus.events) == 2


async def test_a_stranger_that_begins_no_handshake_keeps_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate(tmp_path, "listener", certificate(tmp_path, "authority", None))
    monkeypatch.setattr(mllp_listener, "HANDSHAKE_SECONDS", 0.1)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "listener.pem", tmp_path / "listener.key")
    async with listener(Bus()).listening("127.0.0.1", 0, tls) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(SECONDS):
            assert await reader.read() == b""
        writer.close()


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
    batch = b"FHS|^~\\&\rBHS|^~\\&\r" + mdm("B1") + mdm("B2", type="ORM^O01") + b"BTS|2\rFTS|1\r"
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
    for charset, codec, said in (
        ("8859/7", "iso8859_7", "Πόσο;"),
        ("GB 18030-2000", "gb18030", "多少？"),
        ("KS X 1001", "euc_kr", "얼마?"),
        ("BIG-5", "big5", "教育成功？"),  # of which bytes are separators in ASCII
    ):
        encoded = mdm(question=said, charset=charset).decode().encode(codec)
        found = candidate_of(read_message(encoded), Codes(), SourceKey(b"k" * 32), TENANT)
        assert found is not None
        assert found.messages[0].content == said
    assert b"not-in-its-character-set" in (await held.answers(mdm(question="Fièvre ?", charset="ASCII")))[0]
    assert b"unknown-character-set" in (await held.answers(mdm(charset="KLINGON")))[0]
    assert len(bus.events) == 2


async def test_a_result_without_a_conversation_is_accepted_and_one_without_an_answer_is_not() -> None:
    bus = Bus()
    held = listener(bus)
    lab = b"MSH|^~\\&|LAB|W|||20260301||ORU^R01|L1|P|2.5.1\rOBX|1|NM|718-7^Hb||13.2\r"
    assert b"MSA|AA|L1|" in (await held.answers(lab))[0]
    half = lab.replace(b"NM|718-7^Hb", b"TX|QUESTION")
    assert b"MSA|AR|L1|no-answer" in (await held.answers(half))[0]
    assert b"no-control-id" in (await held.answers(lab.replace(b"|L1|", b"||")))[0]
    assert bus.events == []


@pytest.mark.parametrize("kind", ["ED", "RP", "NM", "ed"])
async def test_an_answer_that_is_no_text_is_refused_since_nobody_could_redact_it(kind: str) -> None:
    bus = Bus()
    attached = base64.b64encode(f"{NAME}, MRN 4482913, 1 Main Street".encode())
    message = mdm().replace(
        b"OBX|2|TX|ANSWER||No.", b"OBX|2|%s|ANSWER||^TEXT^PLAIN^Base64^%s" % (kind.encode(), attached)
    )
    assert b"MSA|AR|MSG1|not-text" in (await listener(bus).answers(message))[0]
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


async def test_a_batch_of_what_is_no_message_stops_nothing_else_and_has_an_end() -> None:
    held, turns = listener(Bus()), 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    assert len(await held.answers(b"MSH\r" * 500)) == 500
    beside.cancel()
    assert turns >= 500
    [said] = await held.answers(b"MSH\r" * 10_001)
    assert said.endswith(b"MSA|AR||too-many-messages\r")


def test_what_a_message_of_many_segments_costs_grows_with_its_length_and_not_with_its_square() -> None:
    def read(segments: int) -> int:
        return len(read_message(mdm() + b"ADD||\r" * segments).segments)

    assert read(10) == read(0)
    assert growth(read, 2_000) < MOST


ODD = (b"\\X4\\", b"\\", b"\r", b"|||", b"MSH|", b"^~\\&")


@pytest.mark.parametrize("kind", ["MDM^T02", "ORU^R01", "ADT^A40"])
async def test_five_hundred_damaged_messages_are_each_answered_quote_nothing_and_leave_the_source_alive(
    kind: str,
) -> None:
    bus, draw, log = Bus(), random.Random(3), io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    try:
        held = listener(bus)
        good = merge("MSG1") if kind == "ADT^A40" else mdm().replace(b"MDM^T02", kind.encode())
        for number in range(500):
            body = damaged_bytes(draw, good, ODD)
            answers = await held.answers(body)
            assert answers, number
            for said in answers:
                assert said.split(b"\r")[1][:7] in (b"MSA|AA|", b"MSA|AR|"), (number, said[-60:])
                assert NAME.encode() not in said
        assert b"MSA|AA|MSG1" in (await held.answers(good))[0]
    finally:
        logging.getLogger().removeHandler(handler)
    assert NAME not in log.getvalue()
    assert "4482913" not in log.getvalue()


async def test_five_hundred_damaged_connections_quote_nothing_and_one_beside_them_loses_nothing() -> None:
    """Frames without begin or end, one inside another, noise between, and a sender that is gone in the middle."""
    bus, draw = Bus(), random.Random(17)
    good, said = framed(mdm("BAD")), b""

    async def sent(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            started = draw.choice([good, good + good, START + good, good[:-1] + good])
            writer.write(damaged_bytes(draw, started, ODD))
            if draw.random() < 0.2:
                writer.transport.abort()
                return b""
            writer.write_eof()
            async with asyncio.timeout(SECONDS):
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async with listener(bus).listening("127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(500):
            said += await sent(port)
            if number % 50 == 0:
                writer.write(framed(mdm(f"GOOD{number}")))
                assert await answer(reader) == ("AA", f"GOOD{number}", "")
        writer.close()
    assert min(said.count(code) for code in (b"MSA|AA|", b"MSA|AR|")) > 50
    assert NAME.encode() not in said
    assert NAME not in "".join(event.data.model_dump_json() for event in bus.events)
    assert len({data.example_id for data in proposals(bus)}) >= 10


@pytest.mark.parametrize("payload", [b"", b"MSH", b"MSH|", b"MSHA^~\\&|", b"MSH|^^\\&|x|", b"MSH|^~\\&|\rpid|1"])
def test_what_is_no_message_is_unreadable(payload: bytes) -> None:
    with pytest.raises(Unreadable):
        read_message(payload)


# --- merges of patients


def merge(
    control: str = "M1", retired: str = "4482913^^^MRN", surviving: str = "77^^^MRN", at: str = "20260301"
) -> bytes:
    return (
        f"MSH|^~\\&|ADT|WARD9|SANO|X|20260228||ADT^A40^ADT_A39|{control}|P|2.5.1\r"
        f"EVN|A40|{at}\rPID|1||{surviving}\rMRG|{retired}\r"
    ).encode()


async def test_a_merge_revokes_the_consent_under_which_the_retired_patients_examples_are() -> None:
    bus = Bus()
    held = listener(bus)
    for payload in (mdm(), merge(), merge("M2", at="20260301120000.5+0100"), merge()):
        assert b"MSA|AA|" in (await held.answers(payload))[0]
    proposed, first, later, again = (event.data for event in bus.events)
    assert isinstance(proposed, ExampleProposed)
    for data in (first, later, again):
        assert isinstance(data, ConsentRevoked)
        assert data.consent_id == proposed.consent_id
    versions = [data.version for data in (first, later, again) if isinstance(data, ConsentRevoked)]
    assert versions == [1772323200000, 1772362800000, 1772323200000]
    assert bus.events[1].id == bus.events[3].id


async def test_every_identifier_that_a_merge_retires_is_meant() -> None:
    bus = Bus()
    await listener(bus).answers(merge(retired="1^^^MRN~2^^^MRN~~1^^^MRN") + b"PID|2||78^^^MRN\rMRG|3^^^MRN\r")
    assert len({data.consent_id for event in bus.events if isinstance(data := event.data, ConsentRevoked)}) == 3


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (merge(retired=""), "no-merge"),
        (merge(surviving=""), "no-merge"),
        (merge(surviving="4482913^^^MRN"), "merged-into-itself"),
        (merge(at="yesterday"), "no-time"),
        (merge(at="20261301"), "no-time"),
        (merge(at="99991231235959-0500"), "no-time"),
        (merge(control=""), "no-control-id"),
        (merge(retired="~".join(map(str, range(1001)))), "too-many-merged"),
    ],
)
async def test_a_merge_that_does_not_say_what_it_merges_is_refused(payload: bytes, reason: str) -> None:
    bus = Bus()
    [said] = await listener(bus).answers(payload)
    assert (said.split(b"\r")[1].split(b"|")[1], said.split(b"\r")[1].split(b"|")[3]) == (b"AR", reason.encode())
    assert bus.events == []


async def test_other_admissions_and_transfers_are_accepted_and_say_nothing() -> None:
    bus = Bus()
    assert b"MSA|AA|MSG1" in (await listener(bus).answers(mdm(type="ADT^A08")))[0]
    assert bus.events == []


# --- batch files


async def imported(bus: Bus, path: Path) -> Proposed:
    return await propose(of := made_by(bus), BatchFiles([path], Codes(), of.key, TENANT))


async def test_a_batch_file_is_taken_as_a_listener_would_take_its_messages_and_bad_ones_get_a_line_each(
    tmp_path: Path,
) -> None:
    live, bus = Bus(), Bus()
    for payload in (mdm("B1"), merge("B2")):
        await listener(live).answers(payload)
    path = tmp_path / "batch.hl7"
    bad = [mdm("B3", type="ORM^O01"), mdm("B4", charset="KLINGON"), mdm("B5", type="ADT^A01")]
    path.write_bytes(
        b"FHS|^~\\&\nBHS|^~\\&\n" + mdm("B1") + framed(merge("B2")) + b"\r\n".join(bad) + b"BTS|6\nFTS|1\n"
    )
    made = await imported(bus, path)
    assert sorted(event.id for event in bus.events) == sorted(event.id for event in live.events)
    assert (made.passed_over, [str(refusal) for refusal in made.refused]) == (
        1,
        [
            f"{path}: refused: its batches say that they hold 6 messages, and it holds 5",
            f"{path}: message 3: refused: unsupported-type; see docs/sources.md",
            f"{path}: message 4: refused: unknown-character-set; see docs/sources.md",
        ],
    )
    path.write_bytes(b"nothing of that kind")
    [refusal] = (await imported(bus, path)).refused
    assert refusal.code == "not-hl7"
    with pytest.raises(Refused, match="cannot be read"):
        await imported(bus, tmp_path / "gone")


async def test_five_hundred_damaged_batch_files_are_refused_message_by_message_and_never_quoted(tmp_path: Path) -> None:
    draw, path, refused = random.Random(19), tmp_path / "batch.hl7", 0
    good = b"BHS|^~\\&\r" + b"".join(mdm(f"B{number}") for number in range(3)) + merge("B3") + b"BTS|4\r"
    for number in range(500):
        bus = Bus()
        path.write_bytes(damaged_bytes(draw, good, ODD))
        made = await imported(bus, path)
        refused += len(made.refused)
        assert len(bus.events) + len(made.refused) + made.passed_over >= 1, number
        for refusal in made.refused:
            assert str(refusal).startswith(f"{path}: ")
            assert "\n" not in str(refusal)
            assert NAME not in str(refusal)
        assert NAME not in "".join(event.data.model_dump_json() for event in bus.events)
    assert refused > 200
