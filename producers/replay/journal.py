"""Journals each message that a run sent, beside its plan, so that an interrupted run resumes.

A line is written after the bus has acknowledged the message. Who dies in between resends that one message when it
resumes. Every consumer recognizes it by its id.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedRandom
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, Field, ValidationError

from producers.replay.log import Place
from producers.replay.selection import Candidate
from schemas.base.contract import Contract, read_tolerant
from schemas.base.identifiers import EventTypeName, OpaqueId, Sha256Hex
from schemas.base.json_text import parse_json
from tenancy.errors import Refused
from tenancy.platform.given_files import writing


class Begun(Contract):
    """The first line, and one more for each time that a run went on."""

    kind: Literal["begun"] = "begun"
    replay_id: OpaqueId
    plan_sha256: Sha256Hex
    by: OpaqueId
    at: AwareDatetime
    to: str


class Sent(Contract):
    """One message that the bus has acknowledged; the place is where it was read."""

    kind: Literal["sent"] = "sent"
    topic: str
    partition: int
    offset: int
    event_id: OpaqueId
    type: EventTypeName
    subject: OpaqueId


class Ended(Contract):
    """The last line of a run that ended by itself."""

    kind: Literal["stopped", "finished"]
    at: AwareDatetime
    reason: str | None = None
    left_out: dict[str, int] = Field(default_factory=dict)


@dataclass
class Journal:
    """In memory: what a run writes that nobody goes on with. :class:`FileJournal` also keeps it."""

    sent: list[Sent] = field(default_factory=list)
    ended: Ended | None = None
    to: str | None = None
    _next: dict[tuple[str, int], int] = field(default_factory=dict)

    def begin(self, begun: Begun) -> None:
        """Raises :class:`Refused` when it was begun with another installation: what is there was not sent here."""
        if self.to not in (None, begun.to):
            raise Refused("other-target", f"refused: this plan was run into {self.to}; plan anew to run it elsewhere")
        self.to = begun.to
        self._write(begun)

    def has(self, place: Place) -> bool:
        """Whether the message was sent: within a partition they are sent in order."""
        return place.offset < self._next.get((place.topic, place.partition), 0)

    def note(self, candidate: Candidate) -> None:
        topic, partition, offset = candidate.place
        event = candidate.event
        line = Sent(
            topic=topic,
            partition=partition,
            offset=offset,
            event_id=event.id,
            type=event.type,
            subject=event.subject,
        )
        self._take(line)
        self._write(line)

    def end(self, ended: Ended) -> None:
        self.ended = ended
        self._write(ended)

    def _take(self, line: Sent) -> None:
        self.sent.append(line)
        self._next[(line.topic, line.partition)] = line.offset + 1

    def _write(self, line: Contract) -> None:
        return None


@dataclass
class FileJournal(Journal):
    """See the module; opened by :func:`journal`."""

    file: BufferedRandom | None = None

    def _write(self, line: Contract) -> None:
        if self.file is None:
            raise Refused("read-only", "refused: this journal was opened for reading")
        self.file.write(line.model_dump_json().encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())


def journal_path(plan: Path) -> Path:
    """Beside the plan, under its name."""
    return plan.with_name(plan.name.removesuffix(".json") + ".journal.jsonl")


@contextmanager
def journal(path: Path, plan_sha256: str) -> Iterator[FileJournal]:
    """Open the journal of a plan to go on with it. Raises :class:`Refused` while another run has it, or when it is
    another plan's."""
    with writing(path):
        file = path.open("a+b")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused("replay-running", "refused: another run of this plan is under way") from None
        file.seek(0)
        body = file.read()
        whole = body.rfind(b"\n") + 1
        file.truncate(whole)  # a line that a crash cut short was never acted upon
        held = FileJournal(file=file)
        _read(held, body[:whole], path, plan_sha256)
        held.ended = None
        yield held


def read_journal(path: Path, plan_sha256: str) -> FileJournal:
    """What the journal says now; empty where there is none. Raises :class:`Refused` when it is another plan's."""
    held = FileJournal()
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        return held
    _read(held, body[: body.rfind(b"\n") + 1], path, plan_sha256)
    return held


def _read(held: FileJournal, body: bytes, path: Path, plan_sha256: str) -> None:
    try:
        for line in body.splitlines():
            made: dict[str, Any] = parse_json(line)
            if made["kind"] == "sent":
                held._take(read_tolerant(Sent, made))
            elif made["kind"] == "begun":
                held.ended = None
                begun = read_tolerant(Begun, made)
                held.to = begun.to
                if begun.plan_sha256 != plan_sha256:
                    raise Refused("other-plan", f"refused: {path} is the journal of another plan")
            else:
                held.ended = Ended.model_validate_json(line)
    except (ValueError, KeyError, TypeError, ValidationError):
        raise Refused("bad-journal", f"refused: {path} is no journal of a replay; plan anew") from None
