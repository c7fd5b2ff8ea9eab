"""Draws passages of a hospital's formulary and handbook, and questions to them, in sentences that one would write."""

from __future__ import annotations

import random
import re

from tests.phi.medicine import word

SECTIONS: dict[str, tuple[str, ...]] = {
    "Dose": (
        "Adults with {cond} start {drug} at {dose} and are reviewed after {duration}.",
        "Where {lab} is found, the dose of {drug} is halved to {dose}.",
        "The daily maximum of {drug} is {dose}; above it {symptom} is frequent.",
        "{drug} is not loaded in {cond}; begin with {dose} and raise it every {duration}.",
        "Patients over {age} get {drug} {dose}, whatever their weight.",
    ),
    "Contraindications": (
        "{drug} must not be given in {cond} or where {symptom} was seen with {drug2}.",
        "Stop {drug} for {duration} before {test}, and restart it once {lab} has settled.",
        "A history of {cond} is a reason to prefer {drug2} to {drug}.",
        "Together with {drug2} it raises the risk of {symptom}; ask the pharmacist first.",
    ),
    "Monitoring": (
        "Before the first dose of {drug} take {test} and note {vital}.",
        "Repeat {lab} after {duration}, then every {duration} while {drug} goes on.",
        "Call the physician if {vital} or {symptom} within {duration} of a dose.",
        "Levels of {drug} are drawn before the morning dose, beside {test}.",
    ),
    "Administration": (
        "{drug} is given by {device} over {digit}0 minutes and flushed afterwards.",
        "Do not mix {drug} with {drug2} in one bag; both are stable for {duration}.",
        "Tablets of {drug} {dose} may be crushed for a {device}, the slow-release ones may not.",
        "Rotate the site where {drug} is injected, and look for {symptom}.",
    ),
    "Alternatives": (
        "If {drug} is out of stock, {drug2} {dose} is given for {cond} instead.",
        "{drug2} replaced {drug} on this formulary for {cond}, since {symptom} is rarer.",
        "In pregnancy {drug2} is preferred; {eponym} is documented first.",
    ),
    "Ward procedure": (
        "A {device} stays for {duration} at most; then it is changed or removed.",
        "For {test} the patient fasts, and {drug} is left out that morning.",
        "On admission with {symptom} record {vital}, {eponym} and {lab} within {digit}0 minutes.",
        "{cond} with {vital} is escalated to the registrar, extension {digit}{digit}{digit}{digit}.",
        "Visitors of patients with {cond} wear a mask for {duration}.",
    ),
}
QUESTIONS = (
    "What is the dose of {drug} in {cond}?",
    "How much {drug} may a patient of {age} get?",
    "May I give {drug} together with {drug2}?",
    "What do I check before starting {drug}?",
    "The patient has {symptom} after {drug}. What now?",
    "What replaces {drug} when it is out of stock?",
    "How long may a {device} stay in?",
    "Is {drug} safe where {lab} was found?",
    "What is to be stopped before {test}?",
    "Whom do I call for {cond} with {vital}?",
    "Can {drug} be given through a {device}?",
    "Which drug do we prefer for {cond}?",
)
SENTENCES = 4


def passages(count: int) -> list[str]:
    """So many passages, each of a drug or a condition; the same for the same count."""
    rng = random.Random(1)
    return [_passage(rng) for _ in range(count)]


def questions(count: int) -> list[str]:
    rng = random.Random(2)
    return [_filled(rng.choice(QUESTIONS), {}, rng) for _ in range(count)]


def _passage(rng: random.Random) -> str:
    """Under one heading, mostly of one drug and one condition."""
    section = rng.choice(list(SECTIONS))
    about = {slot: word(slot, rng) for slot in ("drug", "cond")}
    chosen = rng.sample(SECTIONS[section], min(SENTENCES, len(SECTIONS[section])))
    return f"Formulary > {about['drug']} > {section}\n" + " ".join(_filled(one, about, rng) for one in chosen)


def _filled(sentence: str, about: dict[str, str], rng: random.Random) -> str:
    return re.sub(r"\{(\w+)\}", lambda slot: about.get(slot[1]) or word(slot[1], rng), sentence)
