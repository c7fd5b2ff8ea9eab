"""Makes identifiers of every kind of Safe Harbor in the forms in which people write them.

The split decides whose names and towns are used: ``dev`` takes Faker's American ones, ``heldout`` others and rarer
forms, so that a gate that knows the first by heart is found out by the second. ``voices`` is apart from both: names
of other countries again, some with their accents, and other towns, streets, firms and houses.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Literal

from faker import Faker

Split = Literal["dev", "heldout", "voices"]
_LOCALES: dict[Split, tuple[str, ...]] = {
    "dev": ("en_US",),
    "heldout": ("en_GB", "en_IN", "es_MX", "de_DE", "fr_FR", "it_IT", "pl_PL", "en_NZ", "en_US"),
    "voices": (
        "en_US",
        "en_US",
        "en_AU",
        "es_ES",
        "pt_BR",
        "sv_SE",
        "nl_NL",
        "vi_VN",
        "yo_NG",
        "tr_TR",
        "cs_CZ",
        "ga_IE",
    ),
}
_TOWNS: dict[Split, tuple[str, ...]] = {
    "dev": (
        "Springfield",
        "Yellow Springs",
        "Tipp City",
        "Dayton",
        "Lima",
        "Xenia",
        "Piqua",
        "Toledo",
        "Akron",
        "Bowling Green",
        "Chillicothe",
        "Fort Wayne",
        "Muncie",
        "Richmond",
    ),
    "heldout": (
        "Ottumwa",
        "Eau Claire",
        "Wenatchee",
        "Truth or Consequences",
        "Pascagoula",
        "Kankakee",
        "Bozeman",
        "Las Cruces",
        "Waukesha",
        "Poughkeepsie",
        "Winnemucca",
        "Sault Ste. Marie",
        "Coeur d'Alene",
        "Nacogdoches",
    ),
    "voices": (
        "Duluth",
        "Salina",
        "Grand Junction",
        "Yuma",
        "Gallup",
        "Bangor",
        "Ponca City",
        "St. Cloud",
        "Council Bluffs",
        "Walla Walla",
        "Murfreesboro",
        "Lake Havasu City",
        "Terre Haute",
        "Opelousas",
    ),
}
_STATES = ("OH", "IN", "KY", "MI", "WI", "IA", "NM", "WA", "MS", "IL", "MT", "NY", "NV", "TX")
_EMPLOYERS: dict[Split, tuple[str, ...]] = {
    "dev": (
        "Acme Corp",
        "Walmart",
        "Delta Trucking",
        "Honda",
        "Meijer",
        "Riverside Lumber",
        "Navistar",
        "Kettering Foods Inc",
    ),
    "heldout": (
        "Amazon",
        "Boeing",
        "Kowalski & Sons Plumbing",
        "John Deere",
        "Tyson Foods",
        "Bluebonnet Bakery LLC",
        "Micron",
        "Lowe's",
        "Weyerhaeuser",
    ),
    "voices": (
        "UPS",
        "Costco",
        "Perdue Farms",
        "Dollar General",
        "Lockheed Martin",
        "Hernandez Roofing",
        "Cargill",
        "Blue Ridge Quarry",
        "Southwest Airlines",
        "Sherwin-Williams",
    ),
}
_FACILITIES: dict[Split, tuple[str, ...]] = {
    "dev": (
        "Mercy Hospital",
        "Miami Valley Hospital",
        "St. Elizabeth",
        "Kettering Medical Center",
        "Good Samaritan Hospital",
        "Lakeview Nursing Home",
        "Riverside Methodist Hospital",
    ),
    "heldout": (
        "Harborview Medical Center",
        "St. Luke's",
        "Bethesda North Hospital",
        "Sunrise Manor",
        "Providence Sacred Heart Medical Center",
        "Cedar Ridge Clinic",
        "Mount Carmel East",
        "Baptist Memorial",
        "Shady Pines Nursing Home",
    ),
    "voices": (
        "St. Vincent Hospital",
        "Intermountain Medical Center",
        "Sacred Heart",
        "Oakmont Care Center",
        "Jefferson Elementary",
        "Tri-County Community Hospital",
        "Essentia Health",
        "Brookdale Senior Living",
        "Holy Cross ER",
        "Northside Dialysis",
    ),
}
_STREETS: dict[Split, tuple[str, ...]] = {
    "dev": ("Main St", "N Elm Street", "Oak Avenue", "Third Street", "Maple Dr", "Salem Ave", "Wayne Avenue"),
    "heldout": (
        "W Juniper Ln",
        "Old Mill Road",
        "State Route 48",
        "E 12th St",
        "Whispering Pines Ct",
        "Martin Luther King Blvd",
        "Cherry Hill Way",
        "Rue St",
    ),
    "voices": (
        "S Pearl St",
        "County Road 14",
        "Lakeshore Drive",
        "E Colfax Ave",
        "Quail Run",
        "Hwy 93",
        "NW 23rd Pl",
        "Rosewood Terrace",
        "Peachtree Rd NE",
        "Calle Ocho",
    ),
}


_BEGINNINGS = [
    "b",
    "ch",
    "d",
    "f",
    "g",
    "h",
    "j",
    "k",
    "kh",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "sh",
    "t",
    "th",
    "v",
    "w",
    "y",
    "z",
    "br",
    "dr",
    "gr",
    "kr",
    "st",
    "tr",
    "sw",
    "nd",
    "mb",
    "ng",
]
_ENDS = ("", "", "", "", "n", "n", "r", "l", "s", "m", "k", "t", "ng", "rd", "ck", "sz", "nd", "x")


@cache
def _fakers(split: Split) -> tuple[Faker, ...]:
    return tuple(Faker(locale) for locale in _LOCALES[split])


class Identifiers:
    """Identifiers of one split, drawn by one generator of random numbers.

    ``invented``: the share of names that nobody has, since most of the world's names are in no list.
    """

    def __init__(self, split: Split, rng: random.Random, invented: float = 0.0) -> None:
        self.split, self.rng, self._invented = split, rng, invented
        self.makers: dict[str, Callable[[], str]] = {
            "PATIENT": self.full_name,
            "CLINICIAN": self.full_name,
            "RELATIVE": self.full_name,
            "FIRST": self.first,
            "LAST": self.last,
            "LASTFIRST": lambda: f"{self.last()}, {self.first()}",
            "INITIALS": self.initials,
            "EMPLOYER": lambda: rng.choice(_EMPLOYERS[split]),
            "FACILITY": lambda: rng.choice(_FACILITIES[split]),
            "ADDRESS": self.address,
            "TOWN": lambda: rng.choice(_TOWNS[split]),
            "ZIP": lambda: self.pattern("#####") if rng.random() < 0.8 else self.pattern("#####-####"),
            "DATE": self.date,
            "SHORTDATE": self.short_date,
            "AGE": self.age,
            "PHONE": self.phone,
            "FAX": self.phone,
            "EMAIL": self.email,
            "SSN": lambda: self.any_of("###-##-####", "### ## ####", "#########", "###-##-####"),
            "MRN": lambda: self.any_of(
                "########", "#######", "##-##-##", "00#####", "M#######", "###-####", "E########", "######"
            ),
            "PLAN": lambda: self.any_of(
                "#?#?-??#-??##", "W#########", "???#########", "##########", "#########A", "XJ####-##"
            ),
            "ACCOUNT": lambda: self.any_of("##########", "A-######", "####-#####", "ACT######", "########"),
            "LICENCE": lambda: self.any_of(
                "??######", "?###-####-####", "1#########", "?#######", "RN######", "??#######"
            ),
            "VIN": lambda: (
                "".join(rng.choice("ABCDEFGHJKLMNPRSTUVWXYZ0123456789") for _ in range(11)) + self.pattern("######")
            ),
            "PLATE": lambda: self.any_of("???-####", "#???###", "??? ###", "???####"),
            "DEVICE": lambda: self.any_of("SN########", "??####???", "PJN######", "####-##-####", "G#?##?##"),
            "URL": self.url,
            "IP": lambda: (
                ".".join(str(rng.randrange(1, 255)) for _ in range(4))
                if rng.random() < 0.8
                else "fe80::" + self.pattern("#a#b:#c#d")
            ),
            "BIOMETRIC": lambda: self.any_of("FP-#####-?", "a9f#3c#1e#", "BT######", "VP-####-##"),
            "PHOTO": lambda: self.any_of("IMG_####.jpg", "DSC#####.JPG", "face_####.png", "photo-#######.heic"),
            "ACCESSION": lambda: self.any_of("S##-#####", "A########", "##-###-#####", "US######", "H########"),
            "ORDER": lambda: self.any_of("########", "ORD-######", "######", "V########"),
            "ROOM": lambda: self.any_of("###", "###?", "?-###", "####"),
        }

    def make(self, slot: str) -> str:
        return self.makers[slot]()

    def any_of(self, *patterns: str) -> str:
        return self.pattern(self.rng.choice(patterns))

    def pattern(self, pattern: str) -> str:
        """``#`` a digit, ``?`` a capital."""
        fill = {"#": "0123456789", "?": "ABCDEFGHJKLMNPRSTVWXYZ"}
        made = "".join(self.rng.choice(fill[sign]) if sign in fill else sign for sign in pattern)
        return made if made[0] != "0" or pattern[0] == "0" else str(self.rng.randrange(1, 10)) + made[1:]

    def _faker(self) -> Faker:
        faker = self.rng.choice(_fakers(self.split))
        faker.seed_instance(self.rng.randrange(1 << 30))
        return faker

    def first(self) -> str:
        return (
            self.new_name()
            if self.rng.random() < self._invented
            else self._spelt(self._faker().first_name().split()[0])
        )

    def last(self) -> str:
        return self.new_name() if self.rng.random() < self._invented else self._spelt(self._faker().last_name())

    def _spelt(self, name: str) -> str:
        """With the letters that an American keyboard has; now and then, in ``voices``, with all of its own."""
        return name if self.split == "voices" and self.rng.random() < 0.2 else plain(name)

    def full_name(self) -> str:
        first, last = self.first(), self.last()
        middle = f" {self.rng.choice('ABCDEFGHJKLMRST')}." if self.rng.random() < 0.15 else ""
        return f"{first}{middle} {last}"

    def new_name(self) -> str:
        """Two to four syllables of any language."""
        rng = self.rng
        syllables = (
            rng.choice(_BEGINNINGS) + rng.choice("aeiouaeio") + rng.choice(_ENDS)
            for _ in range(rng.choice((2, 2, 3, 3, 4)))
        )
        return "".join(syllables).capitalize()

    def initials(self) -> str:
        letters = [self.rng.choice("ABCDFGHJKLNRTVW") for _ in range(self.rng.choice((2, 2, 3)))]
        return ".".join(letters) + "."

    def address(self) -> str:
        unit = self.rng.choice(("", "", "", " Apt 4B", " apt 12", ", Unit 3"))
        return f"{self.rng.randrange(10, 9999)} {self.rng.choice(_STREETS[self.split])}{unit}"

    def date(self) -> str:
        rng = self.rng
        year, month, day = rng.randrange(1931, 2026), rng.randrange(1, 13), rng.randrange(1, 29)
        name = (
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        )[month - 1]
        forms = [
            f"{month}/{day}/{year}",
            f"{month:02}/{day:02}/{year}",
            f"{month}/{day}/{year % 100:02}",
            f"{month}-{day}-{year % 100:02}",
            f"{year}-{month:02}-{day:02}",
            f"{name} {day}, {year}",
            f"{name[:3]} {day} {year}",
            f"{day} {name} {year}",
            f"{day}-{name[:3]}-{year}",
            f"{name[:3]} {day}",
        ]
        if self.split == "heldout":
            forms += [
                f"{day}{name[:3].upper()}{year}",
                f"{month}.{day}.{year}",
                f"{name} {day}{ordinal(day)}",
                f"the {day}{ordinal(day)} of {name}",
                f"{name} {year}",
                f"{month}/{year}",
            ]
        if self.split == "voices":
            forms += [
                f"{name[:3].lower()} {day}",
                f"{day} {name[:3]} {year % 100:02}",
                f"{name[:3]}. {day}, {year}",
                f"{year}/{month:02}/{day:02}",
                f"{name} {day}{ordinal(day)}, {year}",
            ]
        return rng.choice(forms)

    def short_date(self) -> str:
        return f"{self.rng.randrange(1, 13)}/{self.rng.randrange(1, 29)}"

    def age(self) -> str:
        return str(self.rng.randrange(90, 108))

    def phone(self) -> str:
        area, middle, last = self.rng.randrange(201, 990), self.rng.randrange(200, 999), self.rng.randrange(1000, 9999)
        forms = [
            f"{area}-{middle}-{last}",
            f"({area}) {middle}-{last}",
            f"{area}.{middle}.{last}",
            f"{area} {middle} {last}",
            f"{area}{middle}{last}",
        ]
        if self.split == "heldout":
            forms += [
                f"+1 {area} {middle} {last}",
                f"1-{area}-{middle}-{last}",
                f"{middle}-{last}",
                f"({area}){middle}-{last}",
                f"{area}-{middle}-{last} x{self.rng.randrange(10, 999)}",
            ]
        return self.rng.choice(forms)

    def email(self) -> str:
        first, last = plain(self.first()).lower(), _address(self.last())
        name = self.rng.choice(
            (f"{first}.{last}", f"{first[0]}{last}", f"{last}{self.rng.randrange(1, 99)}", f"{first}_{last}")
        )
        return f"{name}@{self.rng.choice(('gmail.com', 'yahoo.com', 'mercyhealth.org', 'outlook.com', 'uhosp.edu'))}"

    def url(self) -> str:
        last = _address(self.last())
        return self.rng.choice(
            (
                f"https://portal.mercyhealth.org/p/{self.rng.randrange(9999)}",
                f"www.facebook.com/{last}",
                f"gofundme.com/help-{last}",
                f"http://{last}family.net",
                f"mychart.org/{last}?id=7",
            )
        )


def ordinal(day: int) -> str:
    return "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _address(name: str) -> str:
    """A surname as it stands in an address of mail or of the web."""
    return "".join(letter for letter in plain(name).lower() if letter.isalpha())


def plain(name: str) -> str:
    """The letters that an American keyboard has."""
    return "".join(part for part in unicodedata.normalize("NFKD", name) if part.isascii())
