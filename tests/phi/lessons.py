"""Makes the texts that the token model learns from: short queries, pieces, and questions whose identifiers are changed.

Names come from Faker's locales other than those of ``heldout`` and ``voices``, from the census, from words of the
dictionary that are names too, and from chains of letters that look like names and are in no list.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

from faker import Faker

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import words
from tests.phi import lesson_medicine, lesson_words, medicine
from tests.phi.identifiers import Identifiers, ordinal, plain
from tests.phi.texts import KINDS, SLOT, Part, Sample, joined, pieced, samples, typed
from tests.phi.written import LEARNED, lines, passages, written_parts

_HERE = Path(__file__).parent


_INITIAL_LETTERS = "ABCDEFGHJKLMNPRSTVW"


class Teacher:
    """Draws words and identifiers, all by one generator of random numbers."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"lessons {seed}")
        self._made = Identifiers("dev", self.rng)
        self._lists = words.load()
        wordy = [name for name in self._lists.first_names | self._lists.surnames if name in self._lists.dictionary]
        self._wordy = sorted(name for name in wordy if len(name) > 2 and not words.is_function_word(name))
        self._everyday = sorted(
            word
            for word in self._lists.dictionary
            if words.zipf(word) > 3.2 and not words.is_sure_first_name(word) and word.isalpha()
        )
        self._terms = sorted(term for term in self._lists.clinical if term.isalpha() and len(term) > 2)
        self._short_terms = [term for term in self._terms if len(term) < 5]
        self._long_terms = [term for term in self._terms if len(term) > 8]
        self._firsts, self._lasts = sorted(self._lists.first_names), sorted(self._lists.surnames)
        self._common = {
            kind: sorted(name for name, share in names.items() if share > 0.003)
            for kind, names in (("first", self._lists.first_names), ("last", self._lists.surnames))
        }
        self._countries = sorted(country.title() for country in words.COUNTRIES if len(country) > 3)
        self._eponyms, self._places = sorted(self._lists.eponyms), sorted(self._lists.places)
        self._towns = [place for place in self._places if 2.2 < words.zipf(place.split()[0]) < 5.0]
        self._chains = {"first": _chain(self._firsts), "last": _chain(self._lasts)}
        self._short = [
            name
            for name in sorted({*self._firsts, *self._lasts})
            if len(name) in (2, 3) and not words.is_function_word(name) and not words.is_clinical(name)
        ]
        self._drug_chain = _chain(self._terms)

    def name(self, kind: str) -> str:
        """A first name or a surname, capitalised."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.05:
            chosen = rng.choice(self._short)
        elif draw < 0.22:
            chosen = rng.choice(self._common[kind])
        elif draw < 0.36:
            chosen = rng.choice(self._firsts if kind == "first" else self._lasts)
        elif draw < 0.64:
            faker = _faker(rng.choice(lesson_words.LOCALES))
            faker.seed_instance(rng.randrange(1 << 30))
            chosen = plain(faker.first_name() if kind == "first" else faker.last_name()).split()[0]
        elif draw < 0.78:
            chosen = rng.choice(self._wordy if rng.random() < 0.9 else self._everyday)
        elif draw < 0.92:
            chosen = _drawn(self._chains[kind], rng)
        else:
            chosen = self._made.new_name()
        if kind == "first" and rng.random() < 0.02:
            chosen = rng.choice(lesson_words.WORDS_THAT_ARE_NAMES)
        if kind == "last" and rng.random() < 0.08:
            chosen = f"{rng.choice(lesson_words.PARTICLES)} {chosen.title()}"
        elif rng.random() < 0.04:
            chosen = f"{chosen}-{rng.choice(self._common[kind])}"
        return chosen[:1].upper() + chosen[1:] if " " in chosen else chosen.title()

    def full(self) -> str:
        rng = self.rng
        first, last = self.name("first"), self.name("last")
        shape = rng.random()
        if shape < 0.44:
            return f"{first} {last}"
        if shape < 0.5:
            return f"{first} {rng.choice((self.name('first'), last))} {self.name('last')}"
        if shape < 0.52:
            return f"{first} {last} {rng.choice(('Jr', 'Sr', 'II', 'III', 'Filho', 'Neto'))}"
        if shape < 0.62:
            return f"{first} {rng.choice('ABCDEFGHJKLMRST')}{rng.choice(('.', ''))} {last}"
        if shape < 0.74:
            return f"{first[0]}. {last}"
        if shape < 0.84:
            return f"{first} {last[0]}."
        return rng.choice((first, last))

    def number(self) -> str:
        """A number with or without letters, in groups or in one."""
        rng = self.rng
        groups = []
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
            shape = rng.choice(("#", "#", "#", "?", "?#", "#?", "?#?"))
            groups.append(
                "".join(sign * rng.randrange(1, 6) if sign == "#" else sign * rng.randrange(1, 4) for sign in shape)
            )
        pattern = rng.choice(("-", "-", " ", "/", "")).join(groups)
        if pattern.count("#") < 4:
            pattern += "#" * rng.randrange(3, 6)
        made = self._made.pattern(pattern)
        return made.lower() if rng.random() < 0.2 else made

    def place(self) -> str:
        rng = self.rng
        draw = rng.random()
        chosen = rng.choice(self._places) if draw < 0.3 else rng.choice(self._towns)
        if draw > 0.85:
            chosen = (
                f"{self.name('last')}{rng.choice(('ville', 'ton', ' springs', ' falls', 'burg', ' city', 'stead'))}"
            )
        return chosen.title()

    def identifier(self, slot: str) -> str:
        rng = self.rng
        if slot in ("PATIENT", "CLINICIAN", "RELATIVE"):
            return self.full()
        if slot in ("FIRST", "LAST"):
            return self.name(slot.lower())
        if slot == "LASTFIRST":
            return f"{self.name('last')}, {self.name('first')}"
        if slot == "TOWN":
            return self.place()
        if slot == "SITE":
            firm, word = (rng.choice(of).title() for of in (lesson_words.FAMOUS, self._everyday))
            heads = (self.name("last"), self.place(), f"St {self.name('first')}", firm, word)
            return f"{rng.choice(heads)} {rng.choice(lesson_words.SITES)}"
        if slot == "FACILITY" and rng.random() < 0.2:
            return rng.choice(lesson_words.HOSPITALS)
        if slot == "FACILITY":
            head = rng.choice((self.name("last"), self.place(), f"St {self.name('first')}", rng.choice(self._everyday)))
            return f"{head} {rng.choice(lesson_words.ENDINGS)}".title()
        if slot == "EMPLOYER":
            head = rng.choice((self.name("last"), self.place(), rng.choice(self._everyday).title()))
            return (
                rng.choice(lesson_words.FAMOUS).title()
                if rng.random() < 0.3
                else f"{head} {rng.choice(lesson_words.FIRMS)}".strip().title()
            )
        if slot == "ADDRESS" and rng.random() < 0.8:
            name = rng.choice((self.name("last"), rng.choice(self._everyday).title()))
            if rng.random() < 0.2:
                return rng.choice(lesson_words.STREETS_ABROAD).format(n=rng.randrange(1, 300), name=name)
            return f"{rng.randrange(1, 9999)} {name} {rng.choice(lesson_words.STREETS).title()}"
        if slot in ("PHONE", "FAX") and rng.random() < 0.6:
            return self._made.any_of(*lesson_words.PHONES)
        if slot in ("DATE", "SHORTDATE") and rng.random() < 0.6:
            return self.date()
        if slot == "STORY":
            return rng.choice(lesson_words.STORIES).format(
                who=rng.choice(lesson_words.ROLES),
                named=rng.choice((self.place(), self.identifier("SITE"))),
                place=self.place(),
            )
        if slot == "INITIALS":
            return self.initials()
        if slot == "URL" and rng.random() < 0.6:
            return self.url()
        if slot == "PHOTO" and rng.random() < 0.6:
            of = rng.choice((self.name("last").lower(), "IMG", "scan", "wound", "rash"))
            return f"{of}_{self.number()}.{rng.choice(('jpg', 'HEIC', 'png', 'tiff'))}"
        if slot == "SSN4":
            return self._made.pattern("####")
        if slot == "SPACED":
            return self._made.pattern(rng.choice(lesson_words.SPACED))
        numbered = slot in ("MRN", "PLAN", "ACCOUNT", "LICENCE", "PLATE", "DEVICE", "BIOMETRIC", "ACCESSION", "ORDER")
        if numbered and rng.random() < 0.6:
            return self.number()
        return self._made.make(slot)

    def date(self) -> str:
        """A day, or a month of a year, as one of many countries writes it."""
        rng = self.rng
        day, month, year = rng.randrange(1, 29), rng.randrange(12), rng.randrange(1931, 2026)
        name = rng.choice(lesson_words.MONTHS)[month]
        return rng.choice(lesson_words.DATES).format(
            d=day, dd=f"{day:02}", m=month + 1, mm=f"{month + 1:02}", yy=f"{year % 100:02}", yyyy=year,
            th=f"{day}{ordinal(day)}", name=name, mon=name[:3], later=min(28, day + 3),
        )  # fmt: skip

    def initials(self) -> str:
        rng = self.rng
        letters = rng.choices(_INITIAL_LETTERS, k=rng.choice((1, 2, 2, 2, 3)))
        return rng.choice(("{}.", "{}")).format(rng.choice((".", "", ". ")).join(letters))

    def url(self) -> str:
        rng = self.rng
        name = plain(self.name("last")).lower().replace(" ", "").replace("'", "")
        host = rng.choice((f"portal.{name}", f"{name}clinic", f"www.{name}", f"{name}.health", f"my{name}"))
        end = rng.choice(("example", "com", "org", "net", "co.uk", "de", "me", "invalid", "site", "ca"))
        path = rng.choice(
            ("", f"/{self._made.pattern('?#?#')}", f"/p/{name}", "/login?id=" + self._made.pattern("####"))
        )
        return rng.choice((f"{host}.{end}{path}", f"@{name}{rng.randrange(99)}", f"https://{host}.{end}{path}"))

    def medicine(self, slot: str) -> str:
        """What identifies nobody."""
        rng = self.rng
        if slot in ("word", "Word"):
            chosen = rng.choice(self._everyday if rng.random() < 0.8 else self._wordy)
            return chosen.title() if slot == "Word" else chosen
        if slot == "eponym" and rng.random() < 0.6:
            return rng.choice(self._eponyms).title()
        if slot == "caps":
            letters = "".join(rng.choices(_INITIAL_LETTERS, k=rng.choice((2, 3, 3, 4))))
            return (letters if rng.random() < 0.3 else rng.choice(self._short_terms)).upper()
        if slot == "value":
            return rng.choice((str(rng.randrange(1, 300)), str(rng.randrange(2, 5000)), f"{rng.uniform(0, 40):.1f}"))
        if slot in lesson_medicine.MADE and (slot in lesson_medicine.ALWAYS or rng.random() < 0.5):
            return lesson_medicine.made(slot, rng)
        if slot == "role":
            return rng.choice(lesson_words.ROLES)
        if slot == "place":
            return self.place()
        if slot == "country":
            return rng.choice(self._countries)
        if slot in ("holiday", "nation"):
            return rng.choice(lesson_words.HOLIDAYS if slot == "holiday" else lesson_words.NATIONS)
        if slot in ("drug", "drug2", "term") and rng.random() < 0.12:
            return rng.choice(self._long_terms)[: rng.randrange(4, 7)]
        if slot == "term" or (slot in ("drug", "drug2", "cond") and rng.random() < 0.45):
            return rng.choice(self._terms)
        if slot == "unlisted":
            draw = rng.random()
            if draw < 0.45:
                return rng.choice(self._eponyms).title()
            if draw < 0.6:
                return _drawn(self._drug_chain, rng)
            return self.name("last").split()[-1] if draw < 0.85 else rng.choice(self._everyday).title()
        return medicine.word(slot, rng)

    def filled(self, template: str) -> list[Part]:
        parts = []
        for index, piece in enumerate(SLOT.split(template)):
            if index % 2 == 0:
                parts.append(Part(piece))
            elif piece.isupper():
                parts.append(Part(self.identifier(piece), KINDS[piece]))
            else:
                parts.append(Part(self.medicine(piece)))
        return parts

    def changed(self, parts: list[Part]) -> list[Part]:
        """A question with other people and places in it."""
        return [Part(self._other(part.text, part.kind), part.kind) if part.kind else part for part in parts]

    def passage(self, told: list[list[list[Part]]]) -> list[Part]:
        """Sentences that follow one another in a note, or that stand in a list, with other people in them."""
        sentences = self.rng.choice(told) if self.rng.random() < 0.4 else self.rng.choice(told[-2:])
        at = self.rng.randrange(len(sentences))
        parts: list[Part] = []
        for sentence in sentences[at : at + self.rng.randrange(1, 6)]:
            parts += [Part(self.rng.choice((" ", " ", "\n"))), *self.changed(sentence)]
        return parts[1:]

    def _other(self, text: str, kind: T) -> str:
        rng = self.rng
        made = text
        if kind in (T.PATIENT, T.CLINICIAN, T.RELATIVE, T.PERSON):
            many = text.count(" ")
            made = (
                self.name(rng.choice(("first", "last"))) if many == 0 else f"{self.name('first')} {self.name('last')}"
            )
        elif kind is T.PLACE:
            made = self.place()
        elif kind in (T.FACILITY, T.EMPLOYER):
            made = self.identifier(kind.value)
        elif kind not in (T.DATE, T.AGE, T.EMAIL, T.URL):
            made = self._made.pattern(
                "".join("#" if sign.isdigit() else "?" if sign.isupper() else sign for sign in text)
            )
        if text.islower():
            return made.lower()
        return made.upper() if text.isupper() and len(text) > 3 else made


def lessons(count: int, seed: int) -> Iterator[Sample]:
    """Short queries (``count``), and half as many each of questions with other names, pieces, and parts of notes."""
    teacher = Teacher(seed)
    rng = teacher.rng
    held, clean = ((_HERE / f"lessons_{name}.txt").read_text("utf-8").splitlines() for name in ("with", "clean"))
    asked = [parts for of in (False, True) for parts in written_parts(clean=of)[: LEARNED[of]]]
    for name in ("queries", "asked", "shift", "typed", "wards", "outside", "chat", "calls"):
        asked += [parts for of in (False, True) for parts in written_parts(clean=of, name=name)[::2]]
    told = [
        passages(line) for of in (False, True) for name in ("notes", "queries") for line in lines(name, clean=of)[::2]
    ]
    told += [[*chain.from_iterable(map(passages, lines("prose", clean=of)))] for of in (False, True)]
    for _ in range(count):
        parts: list[Part] = []
        for index in range(rng.choice((1, 1, 1, 2, 2, 3))):
            sentence = teacher.filled(rng.choice(held if rng.random() < 0.5 else clean))
            if rng.random() < 0.25:
                sentence = [Part(sentence[0].text[:1].upper() + sentence[0].text[1:], sentence[0].kind), *sentence[1:]]
            parts += [Part(rng.choice((". ", ", ", " ", "; ", "? ", "\n"))), *sentence] if index else sentence
        yield joined(_hidden(_cased(typed(parts, rng), rng), rng))
    for _ in range(count // 2):
        yield joined(_hidden(_cased(teacher.changed(rng.choice(asked)), rng), rng))
    yield from pieced(count // 2, seed)
    for _ in range(count // 2):
        yield joined(_hidden(_cased(teacher.passage(told), rng, lower=0.15), rng))
    for of in (False, True):
        yield from samples("dev", 800, seed, clean=of)


def _cased(parts: list[Part], rng: random.Random, lower: float = 0.4) -> list[Part]:
    draw = rng.random()
    if draw < lower:
        return [Part(part.text.lower(), part.kind) for part in parts]
    return [Part(part.text.upper(), part.kind) for part in parts] if draw < lower + 0.04 else parts


def _hidden(parts: list[Part], rng: random.Random) -> list[Part]:
    """Now and then with a placeholder for an identifier, as the gate's second look sees a text."""
    return [Part("[ID-1]") if part.kind and rng.random() < 0.1 else part for part in parts]


@cache
def _faker(locale: str) -> Faker:
    return Faker(locale)


Chain = dict[str, list[str]]


def _chain(listed: list[str]) -> Chain:
    """What letter follows three others in these words."""
    follows: Chain = defaultdict(list)
    for word in listed[:: max(1, len(listed) // 20000)]:
        marked = f"^^^{word}$"
        for at in range(3, len(marked)):
            follows[marked[at - 3 : at]].append(marked[at])
    return follows


def _drawn(chain: Chain, rng: random.Random) -> str:
    while True:
        word = "^^^"
        while not word.endswith("$") and len(word) < 16:
            word += rng.choice(chain[word[-3:]])
        if len(word) > 6:
            return word.strip("^$").title()
