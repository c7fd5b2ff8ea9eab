"""Makes events of messages: a conversation becomes a proposal, a merge of patients a revocation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from producers.progress import Progress, silent
from producers.sources.made import Made, placed
from producers.sources.mllp.conversations import Codes, NoCandidate, candidate_of, control_id, type_of
from producers.sources.mllp.framing import END, START
from producers.sources.mllp.listener import Take
from producers.sources.mllp.merges import revocations
from producers.sources.mllp.message import Message, Unreadable, read_message, split_batch
from producers.sources.proposing import Proposer
from producers.sources.source import Candidate
from producers.sources.source_key import SourceKey
from schemas.bus.events import ConsentRevoked
from tenancy.errors import Refused

MERGE = ("ADT", "A40")


def understood(message: Message, codes: Codes, key: SourceKey, tenant: str) -> Candidate | list[ConsentRevoked]:
    """What a message says; an empty list where that is nothing to a source. Raises :class:`NoCandidate`."""
    kind = type_of(message)
    if kind[0] != "ADT":
        return candidate_of(message, codes, key, tenant) or []
    if not control_id(message):
        raise NoCandidate("no-control-id")
    return revocations(message, key, tenant) if kind == MERGE else []


def taking(proposer: Proposer, codes: Codes) -> Take:
    """Publish what a message says, if it says anything."""

    async def take(message: Message) -> None:
        said = understood(message, codes, proposer.key, proposer.tenant)
        if isinstance(said, Candidate):
            await proposer.propose("hl7", said)
            return
        for data in said:
            await proposer.publish(data)

    return take


async def import_hl7(proposer: Proposer, paths: Sequence[Path], codes: Codes, progress: Progress = silent) -> Made:
    """Publish what the messages of batch files say. Raises :class:`Refused` where a file is not there."""
    made = Made()
    candidates: list[tuple[str, Candidate]] = []
    for path, body in [(path, _body(path)) for path in paths]:
        for number, payload in enumerate(_messages(path, body, made), 1):
            where = f"{path}: message {number}"
            try:
                said = understood(read_message(payload), codes, proposer.key, proposer.tenant)
            except (Unreadable, NoCandidate) as error:
                made.refused.append(placed(where, Refused(error.code, f"refused: {error.code}; see docs/sources.md")))
                continue
            if isinstance(said, Candidate):
                candidates.append((where, said))
            else:
                made.consents += said
                made.passed_over += not said
    await made.redact(proposer, "hl7", candidates, progress)
    await made.publish(proposer, progress)
    return made


def _body(path: Path) -> bytes:
    try:
        body = path.read_bytes()
    except OSError as error:
        raise Refused("unreadable-file", f"refused: {path} cannot be read ({error.strerror}); give a file") from None
    return body.replace(START, b"\r").replace(END, b"\r")  # some keep the frames in their files


def _messages(path: Path, body: bytes, made: Made) -> list[bytes]:
    try:
        messages = split_batch(body)
    except Unreadable as error:
        made.refused.append(Refused(error.code, f"{path}: refused: {error.code}; see docs/sources.md"))
        return []
    lines = body.replace(b"\n", b"\r").split(b"\r")
    counts = [line[4:].split(line[3:4], 1)[0].strip() for line in lines if line.startswith(b"BTS")]
    said = [int(count) for count in counts if count.isdigit() and len(count) < 10]
    if said and len(said) == len(counts) and sum(said) != len(messages):
        why = f"{path}: refused: its batches say that they hold {sum(said)} messages, and it holds {len(messages)}"
        made.refused.append(Refused("batch-cut-off", why))
    return messages
