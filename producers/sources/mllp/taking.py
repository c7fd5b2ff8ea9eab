"""Says what messages hold: a conversation is a candidate, a merge of patients a revocation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from producers.sources.mllp.conversations import Codes, NoCandidate, candidate_of, control_id, type_of
from producers.sources.mllp.framing import END, START
from producers.sources.mllp.listener import Take
from producers.sources.mllp.merges import revocations
from producers.sources.mllp.message import Message, Unreadable, read_message, split_batch
from producers.sources.proposed import propose_whole
from producers.sources.proposing import Proposer
from producers.sources.source import Candidate, Said, placed
from producers.sources.source_key import SourceKey
from schemas.bus.events import ConsentRevoked, SourceKind
from tenancy.errors import Refused
from tenancy.platform.given_files import read_handed_over

MERGE = ("ADT", "A40")


@dataclass(frozen=True)
class OneMessage:
    """A source: the conversation or the merge of patients in one message."""

    message: Message = field(repr=False)
    codes: Codes
    key: SourceKey = field(repr=False)
    tenant: str
    place: str = ""
    kind: SourceKind = "hl7"

    def said(self) -> Sequence[Candidate | ConsentRevoked | None]:
        """Raises :class:`NoCandidate`."""
        message, kind = self.message, type_of(self.message)
        if message.part(message.first("DSC"), 1) or message.part(message.first("MSH"), 14):
            raise NoCandidate("part-of-a-message")
        if kind[0] != "ADT":
            candidate = candidate_of(message, self.codes, self.key, self.tenant)
            return [candidate and replace(candidate, place=self.place)]
        if not control_id(message):
            raise NoCandidate("no-control-id")
        return (revocations(message, self.key, self.tenant) if kind == MERGE else []) or [None]


def taking(proposer: Proposer, codes: Codes) -> Take:
    """Publish what a message says, if it says anything."""

    async def take(message: Message) -> None:
        await propose_whole(proposer, OneMessage(message, codes, proposer.key, proposer.tenant))

    return take


@dataclass(frozen=True)
class BatchFiles:
    """A source: every message of batch files."""

    paths: Sequence[Path]
    codes: Codes
    key: SourceKey = field(repr=False)
    tenant: str
    kind: SourceKind = "hl7"

    def said(self) -> Iterator[Said]:
        """Raises :class:`Refused` where a file is not there."""
        for path, body in [(path, _body(path)) for path in self.paths]:
            messages, refused = _messages(path, body)
            yield from refused
            for number, payload in enumerate(messages, 1):
                place = f"{path}: message {number}"
                said: Sequence[Said]
                try:
                    said = OneMessage(read_message(payload), self.codes, self.key, self.tenant, place).said()
                except (Unreadable, NoCandidate) as error:
                    said = [placed(place, Refused(error.code, f"refused: {error.code}; see docs/sources.md"))]
                yield from said


def _body(path: Path) -> bytes:
    return read_handed_over(path).replace(START, b"\r").replace(END, b"\r")  # some keep the frames in their files


def _messages(path: Path, body: bytes) -> tuple[list[bytes], list[Refused]]:
    """The messages, and what is wrong with the file."""
    try:
        messages = split_batch(body)
    except Unreadable as error:
        return [], [Refused(error.code, f"{path}: refused: {error.code}; see docs/sources.md")]
    lines = body.replace(b"\n", b"\r").split(b"\r")
    counts = [line[4:].split(line[3:4], 1)[0].strip() for line in lines if line.startswith(b"BTS")]
    said = [int(count) for count in counts if count.isdigit() and len(count) < 10]
    if said and len(said) == len(counts) and sum(said) != len(messages):
        why = f"{path}: refused: its batches say that they hold {sum(said)} messages, and it holds {len(messages)}"
        return messages, [Refused("batch-cut-off", why)]
    return messages, []
