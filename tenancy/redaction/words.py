"""Knows words: how common, whether people or places are called so, whether they are medicine's.

The lists are read at the first use, once in a process: about a second.
"""

from __future__ import annotations

import math
import re
import threading
import unicodedata
from dataclasses import dataclass

from tenancy.redaction.lexicon import lines, word_set

_NAME_LIKE = -6.25
"""Share of people of that name (log10 of percent) less how common the word is (Zipf scale). Smith has -4.9, Young -6.1,
Long -6.8, Pain -8."""

_NAME_LIKE_WORD = -5.75
"""The same for words of the dictionary, such as Baker."""

_DRUG = re.compile(
    r"\w{2,}(?:pril|olol|sartan|statin|azole|cillin|mycin|floxacin|cycline|oxetine|idone|azepam|azolam|tidine|prazole|"
    r"dipine|gliptin|gliflozin|glutide|glitazone|parin|xaban|gatran|grel|triptan|setron|mab|tinib|ciclib|rafenib|"
    r"lukast|terol|sone|solone|thiazide|semide|barbital|caine|curium|curonium|dronate|fibrate|vir|vudine|platin|"
    r"rubicin|taxel|bicin|trexate|amide|amine|azine|pine|zepine|afil|osin|oxin|ylline|emide|ofen|profen|coxib)",
)
_ENDINGS = (
    r"itis|osis|emia|aemia|uria|algia|pathy|ectomy|otomy|ostomy|plasty|scopy|graphy|penia|megaly|rrhea|rrhage|plegia|"
    r"paresis|trophy|lysis|stenosis|centesis|pexy|kinesia|plasia|malacia|esthesia|phagia|dipsia|tripsy|ectasis|ptysis|"
    r"cardia|globin|phasia|iasis|ismus|cytosis|clonus|opsia"
)
"""What diagnoses and operations end in, and hardly any name."""
_MEDICAL = re.compile(
    rf"\w{{2,}}(?:{_ENDINGS}|"
    r"rrho?eic|pnoe?ic|aemic|gram|logy|oma|tropic|genic|stasis|sclerosis|iasis|desis|aesthesia|rrhaphy|philia|phobia|pnea|dynia|ism|edema|"
    r"ase|tomy|phage|itic|otic|emic|uric|static|logic|logical|ical|ation|ition|ness|ment|ology|ologist|iatric|iatry|"
    r"ing|tion|sion|ive|ous|able|ible|ally)"
)

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_COMMON = 1e-5
"""As often as that, once in 100,000 words, a word is common."""

STATES = {
    "al": "alabama",
    "ak": "alaska",
    "az": "arizona",
    "ar": "arkansas",
    "ca": "california",
    "co": "colorado",
    "ct": "connecticut",
    "de": "delaware",
    "fl": "florida",
    "ga": "georgia",
    "hi": "hawaii",
    "id": "idaho",
    "il": "illinois",
    "in": "indiana",
    "ia": "iowa",
    "ks": "kansas",
    "ky": "kentucky",
    "la": "louisiana",
    "me": "maine",
    "md": "maryland",
    "ma": "massachusetts",
    "mi": "michigan",
    "mn": "minnesota",
    "ms": "mississippi",
    "mo": "missouri",
    "mt": "montana",
    "ne": "nebraska",
    "nv": "nevada",
    "nh": "new hampshire",
    "nj": "new jersey",
    "nm": "new mexico",
    "ny": "new york",
    "nc": "north carolina",
    "nd": "north dakota",
    "oh": "ohio",
    "ok": "oklahoma",
    "or": "oregon",
    "pa": "pennsylvania",
    "ri": "rhode island",
    "sc": "south carolina",
    "sd": "south dakota",
    "tn": "tennessee",
    "tx": "texas",
    "ut": "utah",
    "vt": "vermont",
    "va": "virginia",
    "wa": "washington",
    "wv": "west virginia",
    "wi": "wisconsin",
    "wy": "wyoming",
    "dc": "district of columbia",
    "pr": "puerto rico",
}
COUNTRIES = word_set("countries.txt")
REGIONS = frozenset(
    {
        "new england",
        "midwest",
        "scandinavia",
        "balkans",
        "latin america",
        "middle east",
        "southeast asia",
        "sub-saharan africa",
    }
)
"""Several states or countries together."""
_NOT_NAMES = word_set("function_words.txt")
_TWO_SENSES = word_set("names_and_words.txt")


def plain(word: str) -> str:
    """Lower case without accents and possessive, as the lists have it."""
    if word.isascii() and word.isalpha():
        return word.lower()
    folded = unicodedata.normalize("NFKD", word.casefold())
    return "".join(part for part in folded if not unicodedata.combining(part)).removesuffix("'s").removesuffix("'")


@dataclass(frozen=True)
class _Lists:
    """What is read from the package's files. Nothing of any text is ever added."""

    first_names: dict[str, float]
    surnames: dict[str, float]
    places: frozenset[str]
    clinical: frozenset[str]
    eponyms: frozenset[str]
    dictionary: frozenset[str]
    frequencies: dict[str, float]
    longest: int
    """The letters of the longest word of ``clinical`` and ``frequencies``, which a slip is near to."""


_read: list[_Lists] = []
_reading = threading.Lock()


def load() -> _Lists:
    """All lists, read at the first call."""
    if not _read:
        with _reading:
            if not _read:
                _read.append(_read_lists())
    return _read[0]


def _read_lists() -> _Lists:
    from wordfreq import get_frequency_dict

    clinical = word_set("clinical.txt") | frozenset(lines("clinical_terms.txt.gz"))
    frequencies = get_frequency_dict("en", "large")
    return _Lists(
        first_names=_elsewhere("first_names_elsewhere.txt.gz", 0.004)
        | _shares("first_names_since.txt.gz")
        | _shares("first_names.txt.gz")
        | dict.fromkeys(word_set("first_names_worldwide.txt"), 0.004),
        surnames=_elsewhere("surnames_since.txt.gz", 0.0001)
        | _elsewhere("surnames_elsewhere.txt.gz", 0.001)
        | _shares("surnames.txt.gz")
        | dict.fromkeys(word_set("surnames_worldwide.txt"), 0.001),
        places=frozenset(lines("places.txt.gz")),
        clinical=clinical,
        eponyms=word_set("eponyms.txt"),
        dictionary=frozenset(lines("dictionary.txt.gz")) | frozenset(lines("rare_words.txt.gz")),
        frequencies=frequencies,
        longest=max(map(len, clinical | frequencies.keys())),
    )


def _shares(name: str) -> dict[str, float]:
    return {word: float(share) for word, share in (line.split() for line in lines(name))}


def _elsewhere(name: str, share: float) -> dict[str, float]:
    """Names that are rare in the United States, of which no list says how rare."""
    return dict.fromkeys(lines(name), share)


def zipf(word: str) -> float:
    """How common a word is: 3 once in a million words, 6 once in a thousand; 1 for what is not listed."""
    frequency = load().frequencies.get(plain(word), 0.0)
    return math.log10(frequency) + 9 if frequency > 0 else 1.0


def is_first_name(word: str) -> bool:
    return plain(word) in load().first_names or plain(word).split("-")[0] in load().first_names


def is_surname(word: str) -> bool:
    key, surnames = plain(word), load().surnames
    return key in surnames or key.replace("'", "") in surnames or any(part in surnames for part in key.split("-"))


def first_name_share(word: str) -> float:
    """How many people in a hundred, of the sex that has it more often, have this first name."""
    return load().first_names.get(plain(word), 0.0)


def surname_share(word: str) -> float:
    """How many people in a hundred have this surname."""
    return load().surnames.get(plain(word), 0.0)


def name_likeness(word: str) -> float:
    """The greater, the more a word is a name rather than a word; -99 for what nobody is called."""
    key = plain(word).replace("'", "")
    share = max(load().first_names.get(key, 0.0), load().surnames.get(key, 0.0))
    return math.log10(share) - zipf(key) if share else -99.0


def is_name(word: str) -> bool:
    """Whether a word is more a name than anything else."""
    key = plain(word)
    if key in _NOT_NAMES or is_clinical(word) or len(key) < 2:
        return False
    if any(part != key and is_name(part) for part in key.split("-")):
        return True
    return name_likeness(word) >= (_NAME_LIKE_WORD if key in load().dictionary else _NAME_LIKE)


def is_sure_first_name(word: str) -> bool:
    """Whether a word is a common first name, and no word of its own, so that it is one without any sign around it."""
    key = plain(word)
    share = load().first_names.get(key, 0.0)
    return share >= 0.004 and len(key) > 2 and key not in _TWO_SENSES and is_name(word)


def is_clinical(word: str) -> bool:
    """Whether a word is a drug, a test, an organism or another word of medicine, and no eponym alone."""
    key = plain(word)
    listed = key in load().clinical or (len(key) > 4 and key[-1] == "s" and key[:-1] in load().clinical)
    return listed or (len(key) > 5 and _DRUG.fullmatch(key) is not None and key not in load().surnames)


def is_eponym(word: str) -> bool:
    """Whether a name may stand for a sign, a disease, a score or a device."""
    return any(part in load().eponyms for part in [plain(word), *plain(word).split("-")])


def is_ordinary(word: str) -> bool:
    """Whether a word is English or medicine, and not first of all a name."""
    key = plain(word)
    if key in _NOT_NAMES or is_clinical(key):
        return True
    if is_name(word):
        return False
    return zipf(key) >= 3.0 or _MEDICAL.fullmatch(key) is not None


def is_strange(word: str) -> bool:
    """Whether a word is hardly ever written and looks like none of medicine's: a name from afar, or a slip."""
    key = plain(word)
    return (
        len(key) > 2
        and zipf(key) < 2.6
        and not is_clinical(key)
        and not is_dictionary_word(key)
        and not is_medical(key)
    )


def is_slip(word: str) -> bool:
    """Whether a word that is in no list is one slip of the finger away from a common one: ``paitent``."""
    key, lists = plain(word), load()
    # Nothing is tried for a word that is too long to be near any: the tries alone grow by the square of its length.
    if not 5 <= len(key) <= lists.longest + 1 or not key.isascii():
        return False
    cuts = [(key[:at], key[at:]) for at in range(len(key) + 1)]
    near = {head + tail[1] + tail[0] + tail[2:] for head, tail in cuts if len(tail) > 1}
    near |= {head + tail[1:] for head, tail in cuts if tail}
    near |= {head + letter + tail for head, tail in cuts for letter in _LETTERS}
    near |= {head + letter + tail[1:] for head, tail in cuts[1:] if tail for letter in _LETTERS}
    # Next to nothing of what is near is a word at all: that is asked of all at once.
    common = {other for other in lists.frequencies.keys() & near if lists.frequencies[other] > _COMMON}
    return any(
        other not in lists.first_names and (other not in lists.surnames or other in lists.dictionary)
        for other in common | (near & lists.clinical)
    )


def is_medical(word: str) -> bool:
    """Whether a word is of medicine by a list or by its ending."""
    return is_clinical(word) or _MEDICAL.fullmatch(plain(word).removesuffix("s")) is not None


def is_abbreviation(word: str) -> bool:
    """Whether a word is of two to four capitals: ``OSA``, ``UTIs``."""
    return word[:2].isupper() and 2 <= len(word.removesuffix("s")) <= 4


def is_function_word(word: str) -> bool:
    """Whether a word is of those between which names stand, and of which none consists."""
    return plain(word) in _NOT_NAMES


def is_dictionary_word(word: str) -> bool:
    """Whether what may be a name or a place is a word of the dictionary too, as ``bowling`` is."""
    return plain(word) in load().dictionary


def is_place(phrase: str) -> bool:
    key = " ".join(map(plain, phrase.split()))
    return key in load().places or (
        key.startswith(("st ", "st. ")) and f"saint {key.partition(' ')[2]}" in load().places
    )


def is_large_region(phrase: str) -> bool:
    """Whether a phrase names a state or a country, which Safe Harbor leaves in."""
    key = " ".join(map(plain, phrase.replace(".", "").split()))
    return key in STATES or key in STATES.values() or key in COUNTRIES or key in REGIONS
