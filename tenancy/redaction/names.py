"""Finds people's names: by what stands before or after them, by first name and surname together, and initials."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import name_signs as signs
from tenancy.redaction import words
from tenancy.redaction.labelled import Found
from tenancy.redaction.name_runs import run


def find(text: str) -> Iterator[Found]:
    """Every name of ``text``."""
    cased = any(character.islower() for character in text) and any(character.isupper() for character in text)
    found: list[Found] = [
        *_titled(text, cased),
        *_credentialled(text),
        *_cued(text, cased),
        *_initials(text),
    ]
    for start, end, kind in found:
        is_sign = signs.EPONYM_AFTER.match(text, end) and words.is_eponym(text[start:end])
        if " " in text[start:end] or not (is_sign or signs.is_classed(text, start, end)):
            yield start, end, kind
    for match in signs.HL7.finditer(text):
        yield match.start(), match.end(), T.PERSON


def _titled(text: str, cased: bool) -> Iterator[Found]:
    for match in signs.TITLE.finditer(text):
        title = (match["title"] or match["glued"]).lower()
        following = signs.WORD.match(text, match.end())
        if following is None or following.group().lower() in signs.NOT_AFTER_TITLE:
            continue
        written = match["title"] or match["glued"]
        capital = following.group()[0].isupper() and not following.group().isupper()
        dotted = match["dot"] == "." or match["glued"] is not None
        if (
            cased
            and written.isupper()
            and len(written) == 2
            and not dotted
            and title in ("mr", "ms", "np", "pa", "rn", "lt", "sr", "fr")
            and not (capital and words.is_surname(following.group()))
        ):
            continue
        weak = title in signs.WEAK_TITLES
        if title in ("sr", "fr", "lt", "col", "pa", "sir", "np") and not capital:
            continue
        if title == "ms" and not dotted and not capital and not words.is_name(following.group()):
            continue
        end = run(
            text, match.end(), cased, first_sure=not weak or (capital and not words.is_ordinary(following.group()))
        )
        if end > match.end():
            kind = signs.TITLE_TYPES.get(title, T.CLINICIAN if title in signs.CLINICAL_TITLES else T.PERSON)
            yield match.end(), end, kind
            # "drs smith and jones"
            more = re.compile(r"\s?(?:and|&|/|,|or)\s?(?:dr\.?\s)?").match(text, end)
            if title == "drs" and more and (last := run(text, more.end(), cased, first_sure=True, most=2)) > more.end():
                yield more.end(), last, kind


def _credentialled(text: str) -> Iterator[Found]:
    for match in signs.CREDENTIAL.finditer(text):
        named = list(re.findall(r"[^\W\d_][\w'-]+", match["names"]))
        start = match.start("names")
        while named and (
            words.is_function_word(named[0])
            or words.is_clinical(named[0])
            or (words.is_ordinary(named[0]) and not words.is_surname(named[0]))
        ):
            start = text.index(named[0], start) + len(named[0])
            named = named[1:]
        if named and not all(words.is_ordinary(word) and not words.is_name(word) for word in named):
            yield start, match.end("names"), T.CLINICIAN


def _cued(text: str, cased: bool) -> Iterator[Found]:
    for pattern, kind in ((signs.PERSON_CUE, T.PATIENT), (signs.RELATIVE, T.RELATIVE), (signs.LABEL, T.PERSON)):
        for match in pattern.finditer(text):
            sure = pattern is signs.LABEL or _SURE.search(match.group()) is not None
            end = run(text, match.end(), cased, first_sure=sure)
            if end == match.end() and pattern is not signs.RELATIVE:
                end = _unlisted(text, match.end())
            if end > match.end():
                yield match.end(), end, kind


_SURE = re.compile(r"(?:named|called|name\sis)\s", re.IGNORECASE)


def _unlisted(text: str, at: int) -> int:
    """Where words end that are in no list, between ``pt`` and an age or a number: a name of whatever origin."""
    end = at
    for _ in range(3):
        word = signs.WORD.match(text, end + (end > at and text[end : end + 1] == " "))
        if (
            word is None
            or words.is_function_word(word.group())
            or words.is_clinical(word.group())
            or len(word.group()) < 3
        ):
            break
        if words.is_ordinary(word.group()) and not (end > at and words.is_surname(word.group())):
            break
        if words.is_eponym(word.group()) and end == at:
            break
        end = word.end()
    return end if end > at and signs.AGE_AHEAD.match(text, end) else at


def _is_abbreviation(letters: str) -> bool:
    return letters in signs.NOT_INITIALS or words.is_clinical(letters)


def _initials(text: str) -> Iterator[Found]:
    for match in signs.INITIALS.finditer(text):
        letters = re.sub(r"[^A-Z]", "", match.group())
        if letters.lower() not in signs.NOT_INITIALS and not signs.EPONYM_AFTER.match(text, match.end()):
            yield match.start(), match.end(), T.PERSON
    for match in signs.INITIAL_TITLED.finditer(text):
        yield match.start("initial"), match.end("initial"), T.PERSON
    for match in signs.NICKNAMED.finditer(text):
        yield match.start("name"), match.end("name"), T.PERSON
    for match in signs.BEFORE_AGE.finditer(text):
        if words.first_name_share(match["name"]) > 0:
            yield match.start("name"), match.end("name"), T.PERSON
    for match in signs.INITIALS_AGED.finditer(text):
        start, end = match.span(match.lastgroup or 0)
        letters = text[start:end].replace(".", "").lower()
        if not _is_abbreviation(letters):
            yield start, end, T.PERSON
    for match in signs.INITIALS_OF_STAFF.finditer(text):
        group = match.lastgroup or "signed"
        letters = match[group].lower()
        if letters not in signs.NO_STAFF_INITIALS and (group == "signed" or not _is_abbreviation(letters)):
            yield match.start(group), match.end(group), T.PERSON
    for match in signs.INITIALS_LOWER.finditer(text):
        yield match.start("initials"), match.end("initials"), T.PATIENT
    for match in signs.INITIALS_LABEL_ANY.finditer(text):
        yield match.start("initials"), match.end("initials"), T.PERSON
