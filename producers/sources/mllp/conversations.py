"""Finds the conversation in a message: observations whose code says question or answer, in their order."""

from __future__ import annotations

from dataclasses import dataclass

from producers.sources.mllp.message import Message
from producers.sources.source import Candidate
from producers.sources.source_key import SourceKey
from schemas.base.canonical import canonical_json
from schemas.bus.content import ChatMessage

TAKEN = {("MDM", "T02"), ("ORU", "R01")}
MOST_CHARACTERS = 32_768

_TEXTS = {"TX", "FT", "ST", ""}
"""Of OBX-2. A document that is attached (``ED``, ``RP``) is no text that anybody could redact."""


class NoCandidate(Exception):
    """The message is read and cannot be proposed. ``code`` is for the answer; it quotes nothing."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class Codes:
    """The codes of OBX-3 that say what an observation is."""

    question: str = "QUESTION"
    answer: str = "ANSWER"


def control_id(message: Message) -> str:
    return message.part(message.first("MSH"), 10)


def type_of(message: Message) -> tuple[str, str]:
    """Message code and trigger event."""
    head = message.first("MSH")
    return message.part(head, 9, 1), message.part(head, 9, 2)


def patient_of(message: Message) -> tuple[str, str]:
    """The identifier of PID-3 and its assigning authority."""
    of = message.first("PID")
    return message.part(of, 3), message.part(of, 3, 4)


def candidate_of(message: Message, codes: Codes, key: SourceKey, tenant: str) -> Candidate | None:
    """The conversation in the message; None where it holds none, as most results do not.

    Raises :class:`NoCandidate`. Author and consent become opaque ids under the source's key: the author of TXA-9, else
    of OBX-16; and the consent of the patient of PID-3, whose identifier leaves the hospital in no other form.
    """
    head = message.first("MSH")
    if type_of(message) not in TAKEN:
        raise NoCandidate("unsupported-type")
    if not control_id(message):
        raise NoCandidate("no-control-id")
    turns, author = _turns(message, codes)
    if not turns:
        return None
    if turns[0].role != "user" or turns[-1].role != "assistant":
        raise NoCandidate("no-answer")
    author = message.part(message.first("TXA"), 9) or author
    patient = patient_of(message)
    occurrence = canonical_json([message.part(head, 4), control_id(message)]).decode()
    return Candidate(
        messages=tuple(turns),
        natural_key=occurrence,
        author_id=key.opaque_id("author", tenant, author) if author else None,
        consent_id=key.consent_id(tenant, patient) if patient[0] else None,
    )


def _turns(message: Message, codes: Codes) -> tuple[list[ChatMessage], str]:
    turns: list[ChatMessage] = []
    author = ""
    for segment in message.all("OBX"):
        role = {codes.question: "user", codes.answer: "assistant"}.get(message.part(segment, 3))
        text = message.text(segment, 5).strip()
        if role is None or not text:
            continue
        if message.part(segment, 2).upper() not in _TEXTS:
            raise NoCandidate("not-text")
        if turns and turns[-1].role == role:  # a long text in several segments
            text = f"{turns.pop().content}\n{text}"
        if len(text) > MOST_CHARACTERS:
            raise NoCandidate("text-too-long")
        turns.append(ChatMessage.model_validate({"role": role, "content": text}))
        author = message.part(segment, 16) or author if role == "assistant" else author
    return turns, author
