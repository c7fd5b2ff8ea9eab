"""Holds the set: a formulary, a phone list and a handbook before and after an update, and questions of both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from schemas.bus.content import DocumentContent
from tests.fixtures.documents import read_here

When = Literal["before", "after"]
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Asked:
    """A question and the fact that its answer has to hold, as it was and as it is since the update."""

    question: str
    document: str
    before: str
    after: str

    @property
    def changed(self) -> bool:
        return self.before != self.after

    def fact(self, when: When) -> str:
        """The one that counts then."""
        return self.before if when == "before" else self.after

    def is_right(self, said: str, when: When) -> bool:
        """Whether it holds the fact that counts then, and not the one of the other time."""
        return holds(said, self.fact(when)) and not self.is_replaced(said, when)

    def is_replaced(self, said: str, when: When) -> bool:
        """Whether it holds the fact of the other time."""
        return self.changed and holds(said, self.after if when == "before" else self.before)


def _asked(question: str, document: str, before: str, after: str | None = None) -> Asked:
    return Asked(question, document, before, after or before)


QUESTIONS = (
    _asked("How much apixaban does a patient get?", "formulary", "5 mg twice daily", "2.5 mg twice daily"),
    _asked("What is the rivaroxaban dose?", "formulary", "20 mg once daily", "15 mg once daily"),
    _asked("How much prothrombin complex reverses warfarin?", "formulary", "25 units", "40 units"),
    _asked("Which antibiotic for pneumonia from the community?", "formulary", "amoxicillin"),
    _asked("The patient is allergic to penicillin. What do I give?", "formulary", "doxycycline"),
    _asked(
        "Which antibiotic do we start with in an uncomplicated urinary infection?",
        "formulary",
        "nitrofurantoin",
        "pivmecillinam",
    ),
    _asked("What do I start for cellulitis?", "formulary", "flucloxacillin"),
    _asked("What is the daily maximum of paracetamol?", "formulary", "4 g", "3 g"),
    _asked("Which NSAID do we keep?", "formulary", "ibuprofen", "naproxen"),
    _asked("Which opioid when the kidneys fail?", "formulary", "oxycodone"),
    _asked("What do we have against nausea?", "formulary", "ondansetron", "granisetron"),
    _asked("What is given for a potassium of 7?", "formulary", "calcium gluconate"),
    _asked("The blood sugar is 3. What do I give?", "formulary", "glucose gel"),
    _asked("Which tablet helps an inpatient to sleep?", "formulary", "zopiclone", "melatonin"),
    _asked("Which laxative do I try first?", "formulary", "senna", "macrogol"),
    _asked("Which iron do we give into a vein?", "formulary", "carboxymaltose", "derisomaltose"),
    _asked("Which steroid inhaler do I prescribe?", "formulary", "beclometasone", "ciclesonide"),
    _asked("Which proton pump inhibitor is in stock?", "formulary", "omeprazole", "pantoprazole"),
    _asked("How do I call the pharmacist at night?", "phones", "4410", "7700"),
    _asked("What is the number of the blood bank?", "phones", "2200"),
    _asked("Where do I reach the bed manager?", "phones", "3105", "8140"),
    _asked("Which bleep does the stroke team carry?", "phones", "611", "649"),
    _asked("What is the extension of the catheter laboratory?", "phones", "5230"),
    _asked("Where do I book an interpreter?", "phones", "1290", "1777"),
    _asked("How do I reach microbiology?", "phones", "6034"),
    _asked("My computer is broken. Whom do I call?", "phones", "9090", "9412"),
    _asked("Which bleep does the night porter carry?", "phones", "208", "353"),
    _asked("When may visitors come?", "ward", "14:00 to 18:00", "15:30 to 19:30"),
    _asked("At what time are the controlled drugs counted?", "ward", "07:30", "06:45"),
    _asked("In which room is the spare oxygen?", "ward", "B12", "D04"),
    _asked("Beside which bed is the crash trolley?", "ward", "bed 9", "bed 21"),
    _asked("When are blood samples collected?", "ward", "06:00"),
    _asked("On which floor is the MRI scanner?", "ward", "floor 2", "floor 5"),
)


SAMPLE = tuple(asked for asked in QUESTIONS if asked.changed)[3::6]
"""What a test has time for: every sixth question whose fact changes."""


def documents(when: When) -> Mapping[str, DocumentContent]:
    """The documents by their ids, as `sano knowledge add` reads their files."""
    return {path.stem: _content(path) for path in sorted((FOLDER / when).glob("*.md"))}


def _content(path: Path) -> DocumentContent:
    read = read_here(path)
    return DocumentContent(title=read.title, blocks=read.blocks, salt="5" * 64)


def holds(said: str, fact: str) -> bool:
    """Whether a text holds the fact as words of its own: "2.5 mg" does not hold "5 mg"."""
    return re.search(rf"(?<![\w.:]){re.escape(fact)}(?!\w)", said, re.IGNORECASE) is not None
