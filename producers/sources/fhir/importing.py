"""Proposes what FHIR resources hold: decisions on consent first, then withdrawals, then candidates.

What is refused is said and the rest goes on. Everything is made before the first of it is published.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from producers.progress import Progress, silent
from producers.sources.fhir.candidates import Finder
from producers.sources.fhir.consents import Decision, Word, decided, together
from producers.sources.fhir.files import read_files
from producers.sources.fhir.mapping import FhirMapping, texts
from producers.sources.fhir.resources import Held, Resources
from producers.sources.made import Made, placed
from producers.sources.proposing import Proposer
from producers.sources.source import Candidate
from schemas.bus.events import ConsentGranted, ConsentRevoked, ExampleWithdrawn
from tenancy.errors import Refused

ENTERED_IN_ERROR = "entered-in-error"
DELETED = "deleted"
CONVERSATIONS = ("Communication", "QuestionnaireResponse", "DocumentReference")


async def import_fhir(
    proposer: Proposer, paths: Iterable[Path], mapping: FhirMapping, progress: Progress = silent
) -> Made:
    """Propose everything that the files hold. Raises :class:`Refused` where a file is not there.

    After a :class:`~tenancy.errors.Transient` error the same again does the rest.
    """
    resources, refused = await asyncio.to_thread(read_files, list(paths), mapping.types)
    finder = Finder(resources, mapping, proposer.key, proposer.tenant)
    there = [held for held in conversations(resources) if held.name not in resources.deleted]
    made = await made_of(proposer, finder, there, progress, leaves_only=True)
    made.withdrawals += of_deleted(finder, resources.deleted)
    made.refused[:0] = [*refused, *(placed(where, no_owner()) for where in _deleted_consents(resources))]
    await made.publish(proposer, progress)
    return made


def conversations(resources: Resources) -> list[Held]:
    """What may be a conversation, in the order of the input within each type."""
    return [held for kind in CONVERSATIONS for held in resources.of_type(kind)]


def of_deleted(finder: Finder, names: Iterable[str]) -> list[ExampleWithdrawn]:
    """The withdrawals of the examples that were made of resources which the server has deleted."""
    return [
        ExampleWithdrawn(example_id=finder.example_id(name), reason_code=DELETED)
        for name in names
        if name.partition("/")[0] in CONVERSATIONS
    ]


def no_owner() -> Refused:
    """The refusal of a deletion of a Consent: its patient is in what is gone, so it revokes nothing."""
    return Refused(DELETED, "refused: Consent: the server deleted it, and it is not known whose it was")


def _deleted_consents(resources: Resources) -> list[str]:
    return [where for name, where in resources.deleted.items() if name.startswith("Consent/")]


async def made_of(
    proposer: Proposer,
    finder: Finder,
    candidates: Iterable[Held],
    progress: Progress = silent,
    *,
    leaves_only: bool = False,
) -> Made:
    """The events of these resources and of every Consent that is there; nothing is published.

    ``leaves_only``: an answer that a later answer of the same thread goes on from is no example of its own.
    """
    made = Made()
    _decide_consents(finder, proposer.clock(), made)
    found: list[tuple[Held, Candidate]] = []
    earlier = await asyncio.to_thread(finder.answered_on) if leaves_only else frozenset[str]()
    for held in candidates:
        try:
            withdrawn = finder.withdrawn(held)
            candidate = None
            if withdrawn is not None:
                made.withdrawals.append(ExampleWithdrawn(example_id=withdrawn, reason_code=ENTERED_IN_ERROR))
            elif held.name not in earlier:
                candidate = await asyncio.to_thread(finder.candidate, held)
            if candidate is None:
                made.passed_over += withdrawn is None
            else:
                found.append((held, candidate))
        except Refused as refusal:
            made.refused.append(placed(held.where, refusal))
    await made.redact(proposer, "fhir", [(held.where, candidate) for held, candidate in found], progress)
    return made


def _decide_consents(finder: Finder, now: datetime, made: Made) -> None:
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
            if decision.refusal is not None:
                made.refused.append(placed(held.where, decision.refusal))
            of_whom[finder.consent_id(whose[0])].append(decision)
        except Refused as refusal:
            made.refused.append(placed(held.where, refusal))
    for consent_id, decisions in of_whom.items():
        whole = together(decisions)
        if whole.word is not Word.SILENT:
            made.consents.append(
                ConsentGranted(consent_id=consent_id, version=whole.version, until=whole.until)
                if whole.granted
                else ConsentRevoked(consent_id=consent_id, version=whole.version)
            )
