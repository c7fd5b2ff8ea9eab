"""Says what FHIR resources hold: decisions on consent, withdrawals and candidates; of what is refused, why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from producers.sources.fhir.candidates import Finder
from producers.sources.fhir.consents import Decision, Word, decided, together
from producers.sources.fhir.files import read_files
from producers.sources.fhir.mapping import FhirMapping, texts
from producers.sources.fhir.resources import Held, Resources
from producers.sources.source import Said, placed
from producers.sources.source_key import SourceKey
from schemas.bus.events import ConsentGranted, ConsentRevoked, ExampleWithdrawn, SourceKind
from tenancy.errors import Refused

ENTERED_IN_ERROR = "entered-in-error"
DELETED = "deleted"
CONVERSATIONS = ("Communication", "QuestionnaireResponse", "DocumentReference")


@dataclass(frozen=True)
class FhirResources:
    """A source: these resources, those that the server has deleted, and every Consent that was read with them.

    ``leaves_only``: an answer that a later answer of the same thread goes on from is no example of its own.
    """

    finder: Finder = field(repr=False)
    held: Sequence[Held] = field(repr=False)
    now: datetime
    deleted: Iterable[str] = ()
    leaves_only: bool = False
    kind: SourceKind = "fhir"

    def said(self) -> Iterator[Said]:
        yield from _decisions(self.finder, self.now)
        earlier = self.finder.answered_on() if self.leaves_only else frozenset[str]()
        for held in self.held:
            yield self._said_of(held, earlier)
        for name in self.deleted:
            if name.partition("/")[0] in CONVERSATIONS:
                yield ExampleWithdrawn(example_id=self.finder.example_id(name), reason_code=DELETED)

    def _said_of(self, held: Held, earlier: Set[str]) -> Said:
        try:
            withdrawn = self.finder.withdrawn(held)
            if withdrawn is not None:
                return ExampleWithdrawn(example_id=withdrawn, reason_code=ENTERED_IN_ERROR)
            return None if held.name in earlier else self.finder.candidate(held)
        except Refused as refusal:
            return placed(held.where, refusal)


@dataclass(frozen=True)
class FhirFiles:
    """A source: everything that Bundles, NDJSON and Bulk Data exports hold."""

    paths: Sequence[Path]
    mapping: FhirMapping
    key: SourceKey = field(repr=False)
    tenant: str
    now: datetime
    kind: SourceKind = "fhir"

    def said(self) -> Iterator[Said]:
        """Raises :class:`Refused` where a file is not there."""
        resources, refused = read_files(self.paths, self.mapping.types)
        yield from refused
        yield from (placed(where, no_owner()) for where in _deleted_consents(resources))
        finder = Finder(resources, self.mapping, self.key, self.tenant)
        there = [held for held in conversations(resources) if held.name not in resources.deleted]
        yield from FhirResources(finder, there, self.now, resources.deleted, leaves_only=True).said()


def conversations(resources: Resources) -> list[Held]:
    """What may be a conversation, in the order of the input within each type."""
    return [held for kind in CONVERSATIONS for held in resources.of_type(kind)]


def no_owner() -> Refused:
    """The refusal of a deletion of a Consent: its patient is in what is gone, so it revokes nothing."""
    return Refused(DELETED, "refused: Consent: the server deleted it, and it is not known whose it was")


def _deleted_consents(resources: Resources) -> list[str]:
    return [where for name, where in resources.deleted.items() if name.startswith("Consent/")]


def _decisions(finder: Finder, now: datetime) -> Iterator[ConsentGranted | ConsentRevoked | Refused]:
    mapping = finder.mapping.consent
    if mapping is None:
        return
    of_whom: dict[str, list[Decision]] = defaultdict(list)
    for held in finder.resources.of_type("Consent"):
        try:
            whose = texts(mapping.consent, held.body)
            if not whose:
                raise Refused("no-patient", "refused: Consent: the mapping finds nobody whom it is about")
            decision = decided(held.body, mapping, now)
            refusal = decision.refusal
            # Also where the mapping names an identifier: what was proposed before it did is under the reference.
            of_whom[finder.consent_of_reference(whose[0])].append(decision)
            if (said := finder.mapping.patient) is not None:
                for consent_id in finder.consents_by_identifier(whose[0], said, permits=decision.granted):
                    of_whom[consent_id].append(decision)
        except Refused as why:
            refusal = why
        if refusal is not None:
            yield placed(held.where, refusal)
    for consent_id, decisions in of_whom.items():
        whole = together(decisions)
        if whole.word is not Word.SILENT:
            yield (
                ConsentGranted(consent_id=consent_id, version=whole.version, until=whole.until)
                if whole.granted
                else ConsentRevoked(consent_id=consent_id, version=whole.version)
            )
