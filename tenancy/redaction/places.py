"""Finds places below the state and facilities: addresses, ZIPs and the towns before them, hospitals, wards."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import place_signs as signs
from tenancy.redaction import words
from tenancy.redaction.labelled import Found


def find(text: str) -> Iterator[Found]:
    """Every place and facility of ``text``."""
    yield from _streets(text)
    yield from _codes(text)
    yield from _facilities(text)


def _streets(text: str) -> Iterator[Found]:
    for match in signs.TITLED.finditer(text):
        if not any(map(words.is_clinical, (match["street"] or "").split())):
            yield match.start(), match.end(), T.ADDRESS
    for match in signs.ADDRESS.finditer(text):
        street = match["street"].split()
        titled = all(word[:1].isupper() or word[:1].isdigit() for word in street)
        odd = sum(
            words.is_function_word(word.rstrip(".")) or words.is_clinical(word) for word in street if len(word) > 1
        )
        if (odd and not (match["sure"] and titled)) or ("/" in match["number"] and not titled):
            continue
        if match["short"]:
            if street[0].endswith(".") and not signs.SHORTENED.fullmatch(street[0]):
                continue  # "500 ml. Dr. ...": a sentence ends there
            sure = titled and match["short"][:1].isupper()
            named = all(not words.is_clinical(word) and not signs.STOP.match(word) for word in street)
            rare = titled and match["short"].lower() != "pt" and not any(map(words.is_ordinary, street))
            before = text[: match.start()][-24:]
            ends = signs.ENDS.match(text, match.end()) and match["short"].lower() != "pt"
            towards = signs.LIVES.search(before) or (ends and signs.TOWARDS.search(before))
            likely = rare or len(match["number"]) >= 3 or towards
            if not sure and not (named and len(street) <= 3 and likely):
                continue
        yield match.start(), match.end(), T.ADDRESS
    for match in signs.HOUSE.finditer(text):
        if not words.is_function_word(match["street"] or "") and not words.is_clinical(match["street"] or ""):
            yield *match.span("house" if match["house"] else "numbered"), T.ADDRESS
    for pattern in (signs.ROUTE, signs.BOX, signs.STREET_ABROAD, signs.UK_POST):
        for match in pattern.finditer(text):
            yield match.start(), match.end(), T.ADDRESS if pattern is not signs.UK_POST else T.ZIP


def _codes(text: str) -> Iterator[Found]:
    for pattern in (signs.ZIP, signs.STATE_ZIP):
        for match in pattern.finditer(text):
            yield match.start("zip"), match.end("zip"), T.ZIP
    for match in signs.AUSTRALIAN.finditer(text):
        yield match.start("city"), match.end("city"), T.PLACE
        yield match.start("zip"), match.end("zip"), T.ZIP
    for match in signs.TOWN_ZIP.finditer(text):
        place = _last_place(match["city"])
        if place is not None:
            yield match.start("city") + place, match.end("city"), T.PLACE
            yield match.start("zip"), match.end("zip"), T.ZIP
    for match in signs.TOWN.finditer(text):
        town = match["town"]
        if words.is_place(town) and not (words.is_clinical(town) or words.is_eponym(town)):
            yield match.start("town"), match.end("town"), T.PLACE
    for match in signs.ZIP_4.finditer(text):
        yield match.start(), match.end(), T.ZIP


def _last_place(phrase: str) -> int | None:
    """Where the longest known place begins with which ``phrase`` ends."""
    at = 0
    while at >= 0:
        if words.is_place(phrase[at:]):
            return at
        blank = phrase.find(" ", at)
        at = blank + 1 if blank >= 0 else -1
    return None


def _facilities(text: str) -> Iterator[Found]:
    for match in signs.FACILITY.finditer(text):
        start, name = _specific(match.start("name"), match["name"])
        if name:
            yield start, match.end(), T.FACILITY
    for match in signs.FACILITY_OF.finditer(text):
        named = match["name"].split()
        if any(words.is_place(part) or not words.is_ordinary(part) for part in named):
            yield match.start(), match.end(), T.FACILITY
    for match in signs.FACILITY_ABROAD.finditer(text):
        yield match.start(), match.end(), T.FACILITY
    for match in signs.FACILITY_LOWER.finditer(text):
        start, name = match.start("name"), match["name"].strip()
        while (head := name.partition(" "))[0].lower() in signs.GENERIC and head[2]:
            start, name = start + len(head[0]) + 1, head[2]
        parts = name.split()
        named = [part for part in parts if part.lower() not in signs.GENERIC]
        clear = not any(
            signs.STOP.match(part) or words.is_clinical(part) or words.is_function_word(part) for part in parts
        )
        if named and clear and _names_a_facility(named, match["noun"].lower()):
            yield start, match.end("noun"), T.FACILITY
    for match in signs.SAINT.finditer(text):
        owned = re.fullmatch(r"S\w+\.?\s[A-Z][a-z]{2,20}'s", match.group())
        if (owned or words.plain(match["saint"]).replace("'", "") in signs.SAINTS) and not re.match(
            r"\s?(?:wort|disease|valve|jude\s(?:valve|device|pacemaker|icd))",
            text[match.end() : match.end() + 40],
            re.IGNORECASE,
        ):
            yield match.start(), match.end(), T.FACILITY
    for match in signs.KNOWN.finditer(text):
        yield match.start(), match.end(), T.FACILITY
    for match in signs.UNIT_OF_WARD.finditer(text):
        yield match.start("ward"), match.end("ward"), T.FACILITY


def _names_a_facility(named: list[str], noun: str) -> bool:
    """Whether words in any case before ``hospital`` and the like are its name and not its kind."""
    if all(part[:1].isupper() and not part.isupper() for part in named):
        return True
    if any(words.zipf(part) < 4.6 and not words.is_clinical(part) and _is_rare(part) for part in named):
        return True
    common = all(words.is_dictionary_word(part) and words.zipf(part) < 4.9 for part in named)
    return (
        common
        and (noun not in ("er", "ed", "icu") or len(named) > 1)
        and not any(map(words.is_medical, named))
        and (len(named) > 1 or noun in ("manor", "memorial", "academy"))
    )


def _is_rare(word: str) -> bool:
    """Whether a word is a town's or somebody's, or hardly ever written and looks like none of medicine's."""
    if words.is_dictionary_word(word):
        return words.zipf(word) < 3.3 and not words.is_medical(word)
    return words.is_place(word) or words.is_surname(word) or not words.is_medical(word)


def _specific(start: int, name: str) -> tuple[int, str]:
    """``name`` from its first word that is no general one; empty where all are."""
    parts = name.split(" ")
    while parts and (
        parts[0].lower().strip(".,") in signs.GENERIC
        or words.is_function_word(parts[0].strip(".,"))
        or words.is_clinical(parts[0])
    ):
        start += len(parts[0]) + 1
        parts = parts[1:]
    rest = " ".join(parts)
    named = [
        part
        for part in parts
        if re.sub(r"['-]", "", part).isalpha() and part.lower() not in signs.GENERIC and not words.is_clinical(part)
    ]
    return (
        (start, rest)
        if any(not words.is_ordinary(part) or words.zipf(part) < (4.6 if len(named) == 1 else 5.2) for part in named)
        else (start, "")
    )
