"""Finds the conversations in resources: threads of Communications, QuestionnaireResponses and DocumentReferences.

References and ids leave the hospital in no form but opaque ids under the source's key.
"""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from producers.sources.fhir.mapping import (
    CommunicationMapping,
    DocumentMapping,
    Expression,
    FhirMapping,
    PatientMapping,
    QuestionnaireMapping,
    holds,
    texts,
    values,
)
from producers.sources.fhir.resources import Held, Resource, Resources, version_of
from producers.sources.source import Candidate
from producers.sources.source_key import SourceKey
from schemas.base.canonical import canonical_json
from schemas.bus.content import ChatMessage
from tenancy.errors import Refused

MOST_TURNS = 64
MOST_PROVENANCES = 16


def identifiers(patient: Resource, said: PatientMapping, *, also_former: bool = False) -> list[str]:
    """Those of a Patient that are of the mapping's system, once each; without ``also_former`` none that is old."""
    of_system = [one for one in patient.get("identifier") or [] if one.get("system") == said.system]
    found = [str(one.get("value") or "").strip() for one in of_system if also_former or one.get("use") != "old"]
    return list(dict.fromkeys(filter(None, found)))


@dataclass(frozen=True)
class Finder:
    """Finds one tenant's candidates in what was read."""

    resources: Resources = field(repr=False)
    mapping: FhirMapping
    key: SourceKey = field(repr=False)
    tenant: str
    _provenances_of: Mapping[str, list[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_provenances_of", self._by_target())

    def candidate(self, held: Held) -> Candidate | None:
        """The conversation that ends with this resource; None where it is to be passed over. Raises Refused."""
        match held.type:
            case "Communication" if self.mapping.communication is not None:
                return self._thread(held, self.mapping.communication)
            case "QuestionnaireResponse" if self.mapping.questionnaire_response is not None:
                return self._questionnaire(held, self.mapping.questionnaire_response)
            case "DocumentReference" if self.mapping.document_reference is not None:
                return self._document(held, self.mapping.document_reference)
        return None

    def withdrawn(self, held: Held) -> str | None:
        """The id of the example that was made of a resource which was entered in error; None for any other."""
        said = self.mapping.conversation(held.type)
        return self.example_id(held.name) if said is not None and holds(said.withdraw, held.body) else None

    def answered_on(self) -> frozenset[str]:
        """The answers that a later answer of their thread holds as its beginning: no examples of their own."""
        found = set[str]()
        mapping = self.mapping.communication
        if mapping is None:
            return frozenset()
        for held in self.resources.of_type("Communication"):
            with suppress(Refused):  # said where the message itself is looked at
                chain = self.chain(held)
                if holds(mapping.take, held.body) and self._is_answer(chain, held, mapping):
                    found |= {earlier.name for earlier in chain[:-1]}
        return frozenset(found)

    def example_id(self, name: str) -> str:
        return self.key.opaque_id("example", self.tenant, _natural_key(name))

    def consent_id(self, reference: str) -> str:
        """Name the patient's consent: by the mapping's identifier, or without one by the reference.

        Raises :class:`Refused`.
        """
        if self.mapping.patient is None:
            return self.consent_of_reference(reference)
        [consent_id] = self.consents_by_identifier(reference, self.mapping.patient, permits=True)
        return consent_id

    def consents_by_identifier(self, reference: str, said: PatientMapping, *, permits: bool) -> list[str]:
        """Name the consents that a decision is about: a permit needs the patient's one identifier, anything else holds
        for each that the patient has or had. Raises :class:`Refused`.
        """
        held = self.resources.get(reference)
        if held is None or held.type != "Patient":
            raise Refused("no-identifier", "refused: the Patient whose identifier names the consent is not there")
        found = identifiers(held.body, said, also_former=not permits)
        if not found or (permits and len(found) > 1):
            why = "more than one identifier" if found else "no identifier"
            raise Refused("no-identifier", f"refused: Patient: it has {why} of the mapping's system")
        return [self.key.consent_id(self.tenant, (value, said.authority)) for value in found]

    def consent_of_reference(self, reference: str) -> str:
        return self.key.consent_id(self.tenant, [self.resources.named(reference)])

    def chain(self, held: Held) -> list[Held]:
        """A message and what it answers, from the first on. Raises :class:`Refused` where one of them is missing."""
        mapping = self.mapping.communication
        chain = [held]
        while mapping is not None and (before := texts(mapping.earlier, chain[-1].body)):
            earlier = self.resources.get(before[0])
            if earlier is None:
                raise Refused("thread-incomplete", "refused: Communication: what it answers is not there")
            if earlier in chain or len(chain) >= MOST_TURNS:
                raise Refused("thread-too-long", f"refused: Communication: its thread has more than {MOST_TURNS} turns")
            chain.append(earlier)
        return chain[::-1]

    # --- the three kinds

    def _thread(self, held: Held, mapping: CommunicationMapping) -> Candidate | None:
        if not holds(mapping.take, held.body):
            return None
        if not texts(mapping.earlier, held.body):
            return None  # the first of a thread answers nothing
        chain = self.chain(held)
        if not self._is_answer(chain, held, mapping):
            return None
        turns = [
            ("assistant" if self._is_answer(chain, one, mapping) else "user", _joined(mapping.text, one.body))
            for one in chain
        ]
        return self._made(held, turns, mapping.author, mapping.consent, chain)

    def _is_answer(self, chain: Sequence[Held], held: Held, mapping: CommunicationMapping) -> bool:
        depth = next(number for number, one in enumerate(chain) if one is held)
        return holds(mapping.answer, held.body, {"thread": chain[0].body, "depth": depth})

    def _questionnaire(self, held: Held, mapping: QuestionnaireMapping) -> Candidate | None:
        if not holds(mapping.take, held.body):
            return None
        turns = []
        for item in values(mapping.turns, held.body):
            turns.append(("user", _joined(mapping.question, item)))
            turns.append(("assistant", _joined(mapping.answer, item)))
        return self._made(held, turns, mapping.author, mapping.consent, [held]) if turns else None

    def _document(self, held: Held, mapping: DocumentMapping) -> Candidate | None:
        if not holds(mapping.take, held.body):
            return None
        attachments = values(mapping.attachment, held.body)
        if not attachments:
            return None
        text = "\n".join(self._text(attachment) for attachment in attachments)
        turns = list(_transcript(text, mapping.question_mark, mapping.answer_mark))
        if not turns:
            question = _joined(mapping.question, held.body)
            if not question:
                return None  # a note, and no answer to a question
            turns = [("user", question), ("assistant", text)]
        return self._made(held, turns, mapping.author, mapping.consent, [held])

    def _text(self, attachment: Any) -> str:
        if not isinstance(attachment, dict):
            raise Refused("bad-attachment", "refused: DocumentReference: the mapping's attachment is no Attachment")
        data = attachment.get("data")
        if data is None and isinstance(attachment.get("url"), str):
            binary = self.resources.get(attachment["url"])
            if binary is None:
                raise Refused("no-binary", "refused: DocumentReference: the Binary of its attachment is not there")
            data = binary.body.get("data")
        try:
            return base64.b64decode("".join(str(data or "").split()), validate=True).decode("utf-8-sig")
        except (binascii.Error, ValueError):
            raise Refused("bad-attachment", "refused: DocumentReference: its text is not UTF-8 in base64") from None

    def _made(
        self,
        held: Held,
        turns: Iterable[tuple[str, str]],
        author: Expression | None,
        consent: Expression | None,
        chain: Sequence[Held],
    ) -> Candidate:
        said, under = texts(author, held.body), texts(consent, held.body)
        return Candidate(
            messages=tuple(_messages(turns, held.type)),
            natural_key=_natural_key(held.name),
            version=version_of([one.body for one in chain]),
            author_id=self._opaque("author", said[0]) if said else None,
            consent_id=self.consent_id(under[0]) if under else None,
            provenance_ids=self._provenances({one.name for one in chain}),
            place=held.where,
        )

    def _opaque(self, of: str, reference: str) -> str:
        return self.key.opaque_id(of, self.tenant, self.resources.named(reference))

    def _provenances(self, names: set[str]) -> tuple[str, ...]:
        found = {one for name in names for one in self._provenances_of.get(name, ())}
        return tuple(sorted(found)[:MOST_PROVENANCES])

    def _by_target(self) -> Mapping[str, list[str]]:
        """The opaque ids of what is said of each resource, which each of a long export's conversations asks for."""
        found: dict[str, list[str]] = defaultdict(list)
        if self.mapping.provenance is not None:
            for held in self.resources.of_type("Provenance"):
                for reference in texts(self.mapping.provenance.target, held.body):
                    found[self.resources.named(reference)].append(self._opaque("provenance", held.name))
        return found


def _natural_key(name: str) -> str:
    return canonical_json(["fhir", name]).decode()


def _joined(expression: Expression, element: Any) -> str:
    return "\n".join(text.strip() for text in texts(expression, element))


def _messages(turns: Iterable[tuple[str, str]], kind: str) -> Iterator[ChatMessage]:
    """Turns of one side that follow each other are one. Raises :class:`Refused`."""
    merged: list[tuple[str, str]] = []
    for role, text in turns:
        if text and merged and merged[-1][0] == role:
            merged[-1] = (role, f"{merged[-1][1]}\n{text}")
        elif text:
            merged.append((role, text))
    if not merged or merged[0][0] != "user" or merged[-1][0] != "assistant":
        raise Refused("no-answer", f"refused: {kind}: it does not begin with a question and end with an answer")
    if len(merged) > MOST_TURNS:
        raise Refused("too-many-turns", f"refused: {kind}: it has more than {MOST_TURNS} turns")
    try:
        yield from [ChatMessage.model_validate({"role": role, "content": text}) for role, text in merged]
    except ValidationError:
        why = f"refused: {kind}: a text is longer than 32768 characters, or has half a character in it"
        raise Refused("bad-text", why) from None


def _transcript(text: str, question_mark: str, answer_mark: str) -> Iterator[tuple[str, str]]:
    """The turns of a text whose lines begin with the marks; none where no line does."""
    turns: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        for mark, role in ((question_mark, "user"), (answer_mark, "assistant")):
            if line.lstrip().startswith(mark):
                turns.append((role, [line.lstrip().removeprefix(mark).strip()]))
                break
        else:
            if turns:
                turns[-1][1].append(line)
    for role, lines in turns:
        yield role, "\n".join(lines).strip()
