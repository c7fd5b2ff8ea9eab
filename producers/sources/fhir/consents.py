"""Evaluates Consent resources: whether a patient's data may be trained on, for one purpose.

Deny wins: among the provisions of one level, and among a patient's Consents. What cannot be understood denies. A permit
counts where it names the purpose and is not restricted to some actors, labels or data, since redacted text has none.
Source: FHIR R4 Consent; `consent-provision-limit` as in the implementation guide "Consent about AI".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from producers.sources.fhir.mapping import ConsentMapping
from producers.sources.fhir.resources import Resource, milliseconds, moment
from tenancy.errors import Refused

LIMIT = "http://hl7.org/fhir/StructureDefinition/consent-provision-limit"
_RESTRICTIONS = ("actor", "action", "securityLabel", "class", "code", "dataPeriod", "data")


class Word(IntEnum):
    """What a Consent says of the purpose; of several, the highest counts."""

    SILENT = 0
    LAPSED = 1
    PERMIT = 2
    DENY = 3


@dataclass(frozen=True)
class Decision:
    """``version`` rises with the Consent and with each period of it that begins or ends."""

    word: Word
    version: int
    refusal: Refused | None = None
    until: datetime | None = None  # when it may become another, since a period begins or ends then

    @property
    def granted(self) -> bool:
        return self.word is Word.PERMIT


def together(decisions: Iterable[Decision]) -> Decision:
    """The word of all of a patient's Consents. A grant lasts as long as one of its permits, and no longer than until
    another Consent may become a denial.
    """
    held = list(decisions)
    ends = [one.until for one in held if one.granted]
    lasts = None if None in ends else max(filter(None, ends), default=None)
    others = [one.until for one in held if not one.granted]
    until = min(filter(None, [lasts, *others]), default=None)
    return Decision(max(one.word for one in held), max(one.version for one in held), until=until)


@dataclass
class _Look:
    mapping: ConsentMapping
    now: datetime
    boundaries: list[datetime] = field(default_factory=list)
    ahead: list[datetime] = field(default_factory=list)
    has_lapsed: bool = False
    not_understood: str = ""


def decided(consent: Resource, mapping: ConsentMapping, now: datetime) -> Decision:
    """What one Consent says now. It denies, in the lowest version, where nothing says how old it is."""
    said = moment((consent.get("meta") or {}).get("lastUpdated")) or moment(consent.get("dateTime"))
    if said is None:
        return Decision(
            Word.DENY, 1, Refused("no-version", "refused: Consent: it has neither meta.lastUpdated nor dateTime")
        )
    look = _Look(mapping, now)
    if consent.get("modifierExtension") or consent.get("implicitRules"):
        look.not_understood = "it has a modifierExtension or implicitRules that may mean anything"
    root = consent.get("provision") or {}
    word = _word(root, look, names_purpose=False) or Word.SILENT
    if consent.get("status") != "active" and word is not Word.SILENT:
        word = Word.LAPSED
    if word is Word.SILENT and look.has_lapsed:
        word = Word.LAPSED
    version = max([milliseconds(said), *(milliseconds(at) for at in look.boundaries)])
    if look.not_understood:
        why = f"refused: Consent: {look.not_understood}; training is not permitted by it"
        return Decision(Word.DENY, version, Refused("consent-not-understood", why))
    return Decision(word, version, until=min(look.ahead, default=None))


def _word(provision: Mapping[str, Any], look: _Look, *, names_purpose: bool) -> Word | None:
    """The word of a provision: of the ones inside it where they say something, which are its exceptions."""
    limited = _is_limited(provision, look)
    purposes = provision.get("purpose") or []
    codes = {purpose.get("code") for purpose in purposes}
    applies = not purposes or look.mapping.purpose in codes
    names_purpose = (names_purpose and not purposes) or look.mapping.purpose in codes
    inside = [_word(one, look, names_purpose=names_purpose) for one in provision.get("provision") or []]
    if not applies:
        return None
    if not _in_force(provision.get("period") or {}, look):
        look.has_lapsed = True
        return None
    if Word.DENY in inside:
        return Word.DENY
    if Word.PERMIT in inside:
        return Word.PERMIT
    kind = provision.get("type")
    if kind == "deny":
        return Word.DENY
    if kind == "permit" and names_purpose and not limited and not any(map(provision.get, _RESTRICTIONS)):
        return Word.PERMIT
    return None


def _is_limited(provision: Mapping[str, Any], look: _Look) -> bool:
    """Whether a limit on it cannot be kept. One that is not known makes the whole Consent not understood."""
    for extension in provision.get("modifierExtension") or []:
        parts = extension.get("extension") or []
        if extension.get("url") != LIMIT or not parts or any(part.get("url") != "control" for part in parts):
            look.not_understood = "a provision has a modifierExtension that is not known"
            return True
        for part in parts:
            codes = [coding.get("code") for coding in (part.get("valueCodeableConcept") or {}).get("coding") or []]
            if not codes or not set(codes) <= set(look.mapping.limits):
                look.not_understood = "a provision has a limit that is not known"
                return True
    return False


def _in_force(period: Mapping[str, Any], look: _Look) -> bool:
    begins, ends = period.get("start"), period.get("end")
    if isinstance(ends, str) and ends.startswith("9999"):
        ends = None  # as systems write what never ends; in another zone it would be of the year 10000
    start, end = moment(begins), moment(ends, at_end=True)
    for said, read in ((begins, start), (ends, end)):
        if said and read is None:
            look.not_understood = "a period cannot be read"
        if read is not None:
            (look.boundaries if read <= look.now else look.ahead).append(read)
    return (start is None or start <= look.now) and (end is None or look.now < end)
