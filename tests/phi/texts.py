"""Fills templates, keeps where each identifier stands, and types as people do."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.base.redaction import IdentifierType as T
from tests.phi import fragments, medicine, templates_dev, templates_heldout, templates_voices
from tests.phi.identifiers import Identifiers, Split

KINDS: dict[str, T] = {
    "PATIENT": T.PATIENT,
    "CLINICIAN": T.CLINICIAN,
    "RELATIVE": T.RELATIVE,
    "FIRST": T.PERSON,
    "LAST": T.PERSON,
    "LASTFIRST": T.PATIENT,
    "INITIALS": T.PERSON,
    "EMPLOYER": T.EMPLOYER,
    "FACILITY": T.FACILITY,
    "ADDRESS": T.ADDRESS,
    "TOWN": T.PLACE,
    "SITE": T.PLACE,
    "ZIP": T.ZIP,
    "DATE": T.DATE,
    "SHORTDATE": T.DATE,
    "AGE": T.AGE,
    "PHONE": T.PHONE,
    "FAX": T.FAX,
    "EMAIL": T.EMAIL,
    "SSN": T.SSN,
    "SSN4": T.SSN,
    "MRN": T.MRN,
    "PLAN": T.PLAN,
    "ACCOUNT": T.ACCOUNT,
    "LICENCE": T.LICENCE,
    "VIN": T.VEHICLE,
    "PLATE": T.VEHICLE,
    "DEVICE": T.DEVICE,
    "URL": T.URL,
    "IP": T.IP,
    "BIOMETRIC": T.BIOMETRIC,
    "PHOTO": T.PHOTO,
    "ACCESSION": T.ID,
    "ORDER": T.ID,
    "ROOM": T.ID,
    "SPACED": T.ID,
    "STORY": T.ID,
}
SLOT = re.compile(r"\{(\w+)\}")
_ABBREVIATIONS = {
    "patient": "pt",
    "with": "w/",
    "history": "hx",
    "years old": "yo",
    "year old": "yo",
    "for": "x",
    "and": "&",
    "please": "pls",
    "about": "abt",
    "because": "bc",
    "medical record": "med rec",
}


@dataclass(frozen=True)
class Part:
    """A stretch of a text; ``kind`` where it is an identifier."""

    text: str
    kind: T | None = None


@dataclass(frozen=True)
class Sample:
    """A text and the identifiers in it."""

    text: str
    identifiers: tuple[tuple[int, int, T], ...]


def samples(split: Split, count: int, seed: int = 1, *, clean: bool = False) -> Iterator[Sample]:
    """``count`` texts of a split, the same for the same seed; ``clean`` ones hold no identifier."""
    rng = random.Random(f"{split} {seed} {clean}")
    made = Identifiers(split, rng)
    templates = {"dev": templates_dev, "heldout": templates_heldout, "voices": templates_voices}[split]
    lines = templates.CLEAN if clean else templates.WITH
    for index in range(count):
        parts = _filled(lines[index % len(lines)], made, rng)
        yield joined(typed(parts, rng))


def pieced(count: int, seed: int) -> Iterator[Sample]:
    """``count`` texts of random pieces with the names of ``dev``: what the token model learns from."""
    rng = random.Random(f"pieces {seed}")
    made = Identifiers("dev", rng, invented=0.45)
    for _ in range(count):
        parts: list[Part] = []
        for index in range(rng.randrange(1, 6)):
            pieces = fragments.WITH if rng.random() < 0.45 else fragments.CLEAN
            filled = _filled(rng.choice(pieces), made, rng)
            sentence = rng.random() < 0.3 and filled[0].text[:1].islower()
            begun = [Part(filled[0].text[:1].upper() + filled[0].text[1:]), *filled[1:]] if sentence else filled
            parts += [Part(rng.choice(fragments.JOINTS)), *begun] if index else begun
        yield joined(typed(parts, rng))


def _filled(template: str, made: Identifiers, rng: random.Random) -> list[Part]:
    parts = []
    for index, piece in enumerate(SLOT.split(template)):
        if index % 2 == 0:
            parts.append(Part(piece))
        elif piece.isupper():
            parts.append(Part(made.make(piece), KINDS[piece]))
        elif piece == "unlisted":
            parts.append(Part(made.new_name()))
        else:
            parts.append(Part(medicine.word(piece, rng)))
    return parts


def typed(parts: list[Part], rng: random.Random) -> list[Part]:
    """One or none of the habits, most texts as they are."""
    habit = rng.choice(
        ("as is", "as is", "as is", "as is", "lower", "lower", "upper", "bare", "short", "slips", "glued", "spaces")
    )
    if habit == "lower":
        return [Part(part.text.lower(), part.kind) for part in parts]
    if habit == "upper":
        return [Part(part.text.upper(), part.kind) for part in parts]
    if habit == "bare":
        return [part if part.kind else Part(re.sub(r"[,;!?]|\.(?!\d)|(?<!\d):", "", part.text)) for part in parts]
    if habit == "short":
        return [part if part.kind else Part(_shortened(part.text)) for part in parts]
    if habit == "slips":
        return [part if part.kind else Part(_slipped(part.text, rng)) for part in parts]
    if habit == "glued":
        return [Part(re.sub(r"(?<=[#:])\s+$", "", part.text), part.kind) for part in parts]
    if habit == "spaces":
        return [part if part.kind else Part(part.text.replace(" ", "  ", 2)) for part in parts]
    return parts


def _shortened(text: str) -> str:
    for long, short in _ABBREVIATIONS.items():
        text = re.sub(rf"\b{long}\b", short, text, flags=re.IGNORECASE)
    return text


def _slipped(text: str, rng: random.Random) -> str:
    """Two neighbours of one long word exchanged."""
    words = list(re.finditer(r"[a-z]{6,}", text))
    if not words:
        return text
    at = rng.choice(words).start() + rng.randrange(1, 4)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def joined(parts: list[Part]) -> Sample:
    text, identifiers = "", []
    for part in parts:
        if part.kind is not None:
            identifiers.append((len(text), len(text) + len(part.text), part.kind))
        text += part.text
    return Sample(text, tuple(identifiers))
