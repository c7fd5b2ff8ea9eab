"""The HL7 source as a process, stopped and killed under load: what had no answer comes again, and all is on the
bus, without an identifier of any class."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.local.ports import LOOPBACK
from producers.sources.mllp.framing import END, framed
from tests.fixtures.hospital import HL7, documents, leaked, results
from tests.integration.source_process import BOUND_SECONDS, SourceProcess, beside_a_bus

SENDERS, MESSAGES = 4, 12
IN_HAND = 5
"""Sent before the first of them is answered: at any moment a stop finds some in hand."""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SourceProcess]:
    with beside_a_bus("producers.sources.mllp.app", tmp_path) as made:
        yield made


TEXTS = [*documents(HL7[0].patient), *results(HL7[1].patient)]


def message(control: str) -> bytes:
    """With an identifier of one class after another, and then with all."""
    number = int(control.partition("-")[2]) % len(TEXTS)
    return re.sub(rb"\|MSG\d+\|", f"|{control}|".encode(), TEXTS[number])


@dataclass
class Sender:
    """An interface engine: it sends in order, and again whatever had no answer when its connection ended."""

    port: int
    left: list[str]
    accepted: list[str] = field(default_factory=list)

    async def send_all(self) -> None:
        while self.left:
            try:
                await self._connection()
            except (ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.1)

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        try:
            while self.left:
                for control in self.left[:IN_HAND]:
                    writer.write(framed(message(control)))
                for control in self.left[:IN_HAND]:
                    assert f"MSA|AA|{control}|".encode() in await reader.readuntil(END)
                    self.accepted.append(control)
                    self.left.remove(control)
        finally:
            writer.close()


async def test_what_a_stopped_and_a_killed_process_had_not_answered_comes_again_and_nothing_is_lost(
    source: SourceProcess,
) -> None:
    senders = [Sender(source.port, [f"{s}-{s * MESSAGES + n}" for n in range(MESSAGES)]) for s in range(SENDERS)]

    async def accepted(count: int) -> None:
        while sum(len(sender.accepted) for sender in senders) < count:
            await asyncio.sleep(0.005)

    lives = ((8, False), (24, True), (SENDERS * MESSAGES, False))
    async with asyncio.timeout(len(lives) * BOUND_SECONDS), asyncio.TaskGroup() as sending:  # each loads a gate
        for sender in senders:
            sending.create_task(sender.send_all())
        for count, sigkill in lives:
            process = await asyncio.to_thread(source.start, SANO_HL7_PORT=str(source.port))
            try:
                await accepted(count)
            finally:
                process.kill() if sigkill else process.terminate()
                status = await asyncio.to_thread(process.wait, BOUND_SECONDS)
            assert status == (-9 if sigkill else 0)
    published = await source.published()
    headers = [dict(message.headers) for message in published]
    ids = {said["ce_id"] for said in headers if said["ce_type"] == b"sano.example.proposed"}
    assert len(ids) == SENDERS * MESSAGES
    assert leaked(source.places(published).items(), *HL7) == set()
