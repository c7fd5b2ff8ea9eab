"""Finds places below the state, facilities and employers: addresses, ZIPs, towns, hospitals, ``works at ...``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import place_signs as signs
from tenancy.redaction import words
from tenancy.redaction.labelled import Found


def find(text: str) -> Iterator[Found]:
    """Every place, facility and employer of ``text``."""
    yield from _addresses(text)
    yield from _codes(text)
    yield from _towns(text)
    yield from _facilities(text)
    yield from _employers(text)


def _addresses(text: str) -> Iterator[Found]:
    """Addresses, and the town after each."""
    for start, end, kind in _streets(text):
        yield start, end, kind
        after = signs.AFTER_ADDRESS.match(text, end)
        if after is not None:
            if after["zip"]:
                yield after.start("zip"), after.end("zip"), T.ZIP
            parts = after["city"].split(" ")
            for count in range(len(parts), 0, -1):
                city = " ".join(parts[:count]).rstrip(".,")
                if words.is_place(city) and not words.is_large_region(city) and not words.is_clinical(city):
                    yield after.start("city"), after.start("city") + len(city), T.PLACE
                    break


def _streets(text: str) -> Iterator[Found]:
    for match in signs.CALLE.finditer(text):
        yield match.start(), match.end(), T.ADDRESS
    for match in signs.HOUSE.finditer(text):
        end = match.start("house") + len(match["house"].rstrip())
        unit = signs.UNIT_AFTER.match(text, end)
        yield match.start("house"), unit.end() if unit else end, T.ADDRESS
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
            if not sure and not (named and len(street) <= 3 and (rare or len(match["number"]) >= 3)):
                continue
        yield match.start(), match.end(), T.ADDRESS
    for pattern in (signs.ROUTE, signs.BOX, signs.CORNER, signs.STREET_ABROAD, signs.UK_POST):
        for match in pattern.finditer(text):
            yield match.start(), match.end(), T.ADDRESS if pattern is not signs.UK_POST else T.ZIP
    for match in signs.STREET_ALONE.finditer(text):
        yield match.start("street"), match.end("street"), T.ADDRESS


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
    for match in signs.ZIP_4.finditer(text):
        yield match.start(), match.end(), T.ZIP


def _towns(text: str) -> Iterator[Found]:
    for match in signs.CHAINED.finditer(text):
        yield match.start(), match.end(), T.PLACE
    for match in signs.CITY_STATE.finditer(text):
        start, city = _without_leading(match.start("city"), match["city"])
        parts = city.split()
        loose = city.isupper() or (
            re.search(r"\b(?:IN|OR|ME|OK|HI|PA|MA|LA|CO|DE|ID|OH|AL|MS|MD|CT|NC|SC)$", match.group())
            and "," not in match.group()
        )
        known = words.is_place(city) if loose else words.is_place(city) or not _is_plain(parts)
        if parts and known and not any(words.is_clinical(part) for part in parts) and not words.is_large_region(city):
            yield start, match.end("city"), T.PLACE
    for pattern in (signs.CITY_STATE_LOWER, signs.CITY_STATE_BARE):
        for match in pattern.finditer(text):
            found = _last_place(match["city"])
            clinical = any(map(words.is_clinical, match["city"].split()))
            if (
                found is not None
                and not clinical
                and not _is_plain(match["city"][found:].split(), sure=pattern is signs.CITY_STATE_LOWER)
            ):
                yield match.start("city") + found, match.end("city"), T.PLACE
    for match in signs.FROM.finditer(text):
        end = _place_end(
            text,
            match.start("place"),
            match["place"],
            sure=signs.SURE_FROM.search(match["cue"]) is not None,
            cue=match["cue"],
        )
        if end is not None:
            yield match.start("place"), end, T.PLACE
    for match in signs.CAPITALS.finditer(text):
        found = _last_place(match.group())
        town = "" if found is None else match.group()[found:]
        if found is None or " " not in town or signs.NOT_PLACE_AFTER.match(text, match.end()):
            continue
        if not words.is_large_region(town) and not any(map(words.is_clinical, town.split())):
            yield match.start() + found, match.end(), T.PLACE
    for match in signs.LONE.finditer(text):
        if _is_lone_town(text, match):
            yield match.start(), match.end(), T.PLACE
    for match in signs.COUNTY.finditer(text):
        name = match["name"]
        if (words.is_county(name) and not words.is_function_word(name)) or (
            name[:1].isupper() and not words.is_ordinary(name.split()[-1]) and name.lower() not in signs.GENERIC
        ):
            yield match.start("name"), match.end(), T.PLACE


def _is_lone_town(text: str, match: re.Match[str]) -> bool:
    """Whether a word is a town that people know, and nothing else, so that it needs no sign around it: ``fresno``."""
    word = match.group()
    return (
        2.6 < words.zipf(word) < 4.6
        and words.is_place(word)
        and words.is_ordinary(word)
        and not words.is_medical(word)
        and not words.is_eponym(word)
        and not words.is_large_region(word)
        and not words.is_function_word(word)
        and (not words.is_dictionary_word(word) or words.zipf(word) < 3.6)
        and not signs.NOT_PLACE_AFTER.match(text, match.end())
    )


def _is_plain(parts: list[str], sure: bool = True) -> bool:
    """Whether these words are words rather than a town's name."""
    return all(words.is_function_word(part.strip(".,")) or (not sure and words.zipf(part) > 5.2) for part in parts)


def _without_leading(start: int, city: str) -> tuple[int, str]:
    """``city`` from its first word that can be part of a name."""
    while True:
        head, blank, rest = city.partition(" ")
        if not blank or not (
            words.is_function_word(head.strip("."))
            and head.lower() not in ("new", "east", "west", "north", "south", "upper", "lower")
        ):
            return start, city
        start, city = start + len(head) + 1, rest


def _last_place(phrase: str) -> int | None:
    """Where the longest known place begins with which ``phrase`` ends."""
    at = 0
    while at >= 0:
        if words.is_place(phrase[at:]):
            return at
        blank = phrase.find(" ", at)
        at = blank + 1 if blank >= 0 else -1
    return None


def _place_end(text: str, start: int, phrase: str, sure: bool, cue: str) -> int | None:
    """Where the longest known place ends with which ``phrase`` begins, unless it is a word, a region or an eponym's."""
    parts = phrase.split(" ")
    for count in range(len(parts), 0, -1):
        place = " ".join(parts[:count]).rstrip(".,")
        end = start + len(place)
        if words.is_large_region(place) and not (count == 1 and place.lower() in ("new york", "washington")):
            if count == len(parts) or not words.is_place(place):
                return None
            continue
        if not words.is_place(place) or signs.NOT_PLACE_AFTER.match(text, end):
            continue
        capital = all(part[:1].isupper() and not part.isupper() for part in place.split())
        if place.lower() in ("west", "north", "south", "east", "center", "central", "general", "home", "bed", "clinic"):
            return None
        rare = (
            count > 1
            or (words.zipf(place) < 4.3 and not words.is_ordinary(place))
            or (capital and not words.is_function_word(place))
        )
        if words.is_clinical(place) or (count == 1 and words.is_function_word(place)):
            return None
        if sure and (capital or rare or words.zipf(place) < 4.9):
            return end
        if capital and (not words.is_eponym(place) or place.lower() in signs.CITIES_AND_EPONYMS):
            return end
        if not capital and not words.is_eponym(place) and _is_town_in_lower_case(place, sure or cue.lower() == "from"):
            return end
        return None
    # An unknown capitalised town after a sure sign.
    first = parts[0]
    if (
        sure
        and first[:1].isupper()
        and not words.is_ordinary(first)
        and not words.is_large_region(first)
        and not first.isupper()
    ):
        count = 2 if len(parts) > 1 and parts[1][:1].isupper() and not words.is_ordinary(parts[1]) else 1
        return start + len(" ".join(parts[:count]).rstrip(".,"))
    return None


def _is_town_in_lower_case(place: str, sure: bool) -> bool:
    """Whether lower-case words are a town rather than words, after ``from`` or a surer sign, or after ``in``."""
    parts = place.split()
    strange = [part for part in parts if not words.is_dictionary_word(part) and not words.is_function_word(part)]
    if len(parts) > 1:
        return bool(strange) or sure
    rare = words.zipf(place) < 3.3 and not words.is_medical(place)  # a town that the dictionary has too
    return (
        (bool(strange) or (sure and rare))
        and not words.is_clinical(place)
        and (words.zipf(place) < 4.9 or sure)
        and words.zipf(place) > 1.0
    )


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
    for match in signs.STAY.finditer(text):
        parts = match["name"].split()
        if not any(map(words.is_medical, parts)) and any(not words.is_dictionary_word(part) for part in parts):
            yield match.start("name"), match.start("name") + len(match["name"].rstrip()), T.FACILITY
    for match in signs.SAINT.finditer(text):
        if words.plain(match["saint"]).replace("'", "") in signs.SAINTS and not re.match(
            r"\s?(?:wort|disease|valve|jude\s(?:valve|device|pacemaker|icd))",
            text[match.end() : match.end() + 40],
            re.IGNORECASE,
        ):
            yield match.start(), match.end(), T.FACILITY
    for match in signs.KNOWN.finditer(text):
        yield match.start(), match.end(), T.FACILITY
    for match in signs.KNOWN_AFTER.finditer(text):
        yield match.start("name"), match.end(), T.FACILITY
    for pattern in (signs.UNIT_OF_WARD, signs.INN):
        for match in pattern.finditer(text):
            yield *match.span(match.lastgroup or 0), T.FACILITY
    for match in signs.HOME.finditer(text):
        head = match["name"].split()[0]
        if head.lower() not in signs.GENERIC and not words.is_function_word(head) and not words.is_medical(head):
            yield match.start("name"), match.end("name"), T.FACILITY


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


def _employers(text: str) -> Iterator[Found]:
    for pattern in (signs.EMPLOYER, signs.EMPLOYER_LABEL):
        for match in pattern.finditer(text):
            end = _name_end(match["name"], capital_only=pattern is signs.EMPLOYER)
            if end:
                yield match.start("name"), match.start("name") + end, T.EMPLOYER
    for match in signs.CALLED.finditer(text):
        yield match.start("name"), match.end("name"), T.EMPLOYER
    for match in signs.COMPANY.finditer(text):
        start, name = _specific(match.start("name"), match["name"])
        if name.strip():
            yield start, match.end("suffix"), T.EMPLOYER


def _name_end(phrase: str, capital_only: bool) -> int:
    """How long the employer's name at the beginning of ``phrase`` is; 0 for none."""
    taken: list[str] = []
    for part in phrase.split(" "):
        bare = part.strip(".,")
        if signs.STOP.match(bare) or (taken and taken[0][:1].isupper() and not (bare[:1].isupper() or bare == "&")):
            break
        taken.append(part)
        if bare != part and part.endswith((".", ",")) and len(bare) > 3:
            break
    named = [
        part
        for part in taken
        if (bare := part.strip(".,").lower()) not in signs.GENERIC
        and not words.is_clinical(bare)
        and not words.is_function_word(bare)
    ]
    if not named or words.is_medical(named[0]) or words.is_eponym(named[0]):
        return 0
    if taken[0][:1].isupper():
        return len(" ".join(taken).rstrip(".,"))
    if any(map(words.is_medical, named)):
        return 0
    rare = [
        part
        for part in named
        if not words.is_ordinary(part) or not (words.is_dictionary_word(part) or words.zipf(part) > 4.4)
    ]
    return len(" ".join(taken[:3]).rstrip(".,")) if (rare and capital_only) or (named and not capital_only) else 0
