"""Yields decisions on consent that somebody lists: by their own ids, or by the patients whom they are about.

A source's key makes a consent's id of the patient's identifier. So who has the key can decide for a patient of whom the
hospital's system says nothing: HL7 v2 carries no consent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from producers.sources.fhir.resources import NAME, relative
from producers.sources.mllp.conversations import patient_of
from producers.sources.mllp.message import Message
from producers.sources.source import Said
from producers.sources.source_key import SourceKey
from schemas.base.identifiers import OPAQUE_ID_IN_WORDS, OPAQUE_ID_PATTERN
from schemas.bus.events import ConsentGranted, ConsentRevoked, SourceKind
from tenancy.errors import Refused

_NO_IDENTIFIER = re.compile(r"[|\"',;\s~]")
"""A row of a table or a whole segment: it would name somebody whom nobody knows, and be no mistake to anybody."""

Named = Literal["id", "hl7", "fhir"]


@dataclass(frozen=True)
class ListedConsents:
    """A source. ``lines`` are ids, identifiers as PID-3 has them (``4482913^^^MRN``), or references (``Patient/7``).

    ``version`` is that of each decision; the higher one of a consent wins.
    """

    lines: Sequence[str] = field(repr=False)
    named: Named
    is_granted: bool
    version: int
    key: SourceKey
    tenant: str
    kind: SourceKind = "file"

    def said(self) -> Iterator[Said]:
        """One decision for each line; a line that names nobody is refused by its number."""
        seen: set[str] = set()
        for number, line in enumerate(self.lines, 1):
            if not (whom := line.strip().removeprefix("\ufeff")):
                continue
            try:
                consent = self._consent(whom)
            except ValueError as why:
                yield Refused("bad-consent", f"line {number}: refused: {why}")
                continue
            if consent not in seen:
                seen.add(consent)
                decision = ConsentGranted if self.is_granted else ConsentRevoked
                yield decision(consent_id=consent, version=self.version)

    def _consent(self, whom: str) -> str:
        if self.named == "id":
            if re.fullmatch(OPAQUE_ID_PATTERN, whom) is None:
                raise ValueError(f"an id is {OPAQUE_ID_IN_WORDS}")
            return whom
        if self.named == "fhir":
            if NAME.fullmatch(patient := relative(whom)) is None:
                raise ValueError("a reference to a patient is expected, such as Patient/7")
            return self.key.consent_id(self.tenant, [patient])
        identifier = patient_of(Message((("PID", "", "", whom),)))
        if not identifier[0] or _NO_IDENTIFIER.search(whom):
            raise ValueError("an identifier as PID-3 has it is expected, such as 4482913^^^MRN")
        return self.key.consent_id(self.tenant, identifier)
