"""Finds people's names: by what stands before or after them, by first name and surname together, and initials."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import name_frames, name_pairs, words
from tenancy.redaction import name_signs as signs
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
        *name_pairs.find(text, cased),
        *name_frames.find(text),
    ]
    found += list(name_frames.joined(text, tuple(found)))
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
    for pattern, kind in (
        (signs.PERSON_CUE, T.PATIENT),
        (signs.RELATIVE, T.RELATIVE),
        (signs.LABEL, T.PERSON),
        (signs.CLINICIAN_CUE, T.CLINICIAN),
    ):
        for match in pattern.finditer(text):
            cue = next(filter(None, (group for name, group in match.groupdict().items() if name in ("cue", "tight"))))
            sure = (pattern is signs.LABEL and signs.SURE_LABEL.search(cue) is not None) or bool(
                re.search(r"named\s|called\s|name\sis\s", match.group(), re.IGNORECASE)
            )
            weak = (pattern is signs.CLINICIAN_CUE and not signs.STRONG_CLINICIAN.search(cue)) or (
                pattern is signs.LABEL and not sure and not signs.RE_LABEL.search(match.group())
            )
            if weak and cased and _is_lone_abbreviation(text, match.end()):
                continue
            end = run(
                text, match.end(), cased, first_sure=sure or (not weak and _is_a_capital_name(text, match.end(), cased))
            )
            if end > match.end():
                if _is_sound(text, match.end(), end, cased, sure, weak):
                    yield (
                        match.end(),
                        end,
                        T.PATIENT
                        if pattern is signs.LABEL and re.search(r"pt|patient|re|regarding", cue, re.IGNORECASE)
                        else kind,
                    )
            elif pattern is signs.PERSON_CUE or sure:
                end = _unlisted(text, match.end())
                if end > match.end():
                    yield match.end(), end, kind
    for match in signs.RELATIVE_IN_BRACKETS.finditer(text):
        if words.first_name_share(match["name"]) >= 0.002 and not words.is_clinical(match["name"]):
            yield match.start("name"), match.end("name"), T.RELATIVE
    for match in signs.NAME_IS_RELATIVE.finditer(text):
        word = match["name"]
        if (
            words.is_first_name(word)
            and (words.is_name(word) or (word[0].isupper() and cased))
            and not words.is_function_word(word)
        ):
            yield match.start("name"), match.end("name"), T.RELATIVE


def _is_lone_abbreviation(text: str, at: int) -> bool:
    """Whether an abbreviation stands at ``at``, and no name after it: ``with OSA on CPAP``."""
    word = signs.WORD.match(text, at)
    if word is None or not words.is_abbreviation(word.group()):
        return False
    following = signs.WORD.match(text, word.end() + 1)
    return following is None or not (following.group()[0].isupper() and words.is_name(following.group()))


def _is_a_capital_name(text: str, at: int, cased: bool) -> bool:
    """Whether a capitalised word is a name, be it a word too: ``patient Hood``."""
    word = signs.WORD.match(text, at)
    if word is None or not cased or not word.group()[0].isupper() or word.group().isupper():
        return False
    found = word.group()
    if words.is_function_word(found) or words.is_medical(found) or words.is_eponym(found):
        return False
    return max(words.surname_share(found), words.first_name_share(found)) >= 0.003


def _is_sound(text: str, start: int, end: int, cased: bool, sure: bool, weak: bool) -> bool:
    """Whether what follows a cue is a name: an everyday cue such as ``with`` needs more than a rare word."""
    named = signs.WORD.findall(text[start:end])
    if sure or not named:
        return True
    if not weak:
        if len(named) == 1 and words.is_eponym(named[0]) and not signs.AGE_AHEAD.match(text, end):
            return (
                cased
                and named[0][0].isupper()
                and not words.is_place(named[0])
                and words.is_surname(named[0])
                and not signs.EPONYM_AFTER.match(text, end)
            )
        if (
            len(named) == 1
            and not signs.AGE_AHEAD.match(text, end)
            and not words.is_surname(named[0])
            and not words.is_first_name(named[0])
        ):
            return cased and named[0][0].isupper() and not named[0].isupper() and words.is_strange(named[0])
        return any(
            words.is_name(word) or words.is_surname(word) or words.is_strange(word) or (cased and word[0].isupper())
            for word in named
        )
    if len(named) == 1:
        word = named[0]
        capital = cased and word[0].isupper() and not word.isupper()
        return not words.is_eponym(word) and (
            words.is_sure_first_name(word)
            if not capital
            else words.is_sure_first_name(word) or (words.is_name(word) and words.is_first_name(word))
        )
    return (
        any(words.is_first_name(word) for word in named[:1])
        and any(words.is_surname(word) for word in named[1:])
        and any(map(words.is_name, named))
    )


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


def _initials(text: str) -> Iterator[Found]:
    for match in signs.INITIALS.finditer(text):
        letters = re.sub(r"[^A-Z]", "", match.group())
        if letters.lower() not in signs.NOT_INITIALS and not signs.EPONYM_AFTER.match(text, match.end()):
            yield match.start(), match.end(), T.PERSON
    for match in signs.INITIALS_LABEL.finditer(text):
        if (match["bare"] and match["bare"].lower() not in signs.NOT_INITIALS and len(match["bare"]) > 1) or (
            match["bare"] and len(match["bare"]) == 1 and text[match.end("bare") : match.end("bare") + 1] == "."
        ):
            yield match.start("bare"), match.end("bare"), T.PATIENT
    for match in signs.INITIAL_TITLED.finditer(text):
        yield match.start("initial"), match.end("initial"), T.PERSON
    for match in signs.INITIALS_LOWER.finditer(text):
        yield match.start("initials"), match.end("initials"), T.PATIENT
    for match in signs.INITIALS_LABEL_ANY.finditer(text):
        yield match.start("initials"), match.end("initials"), T.PERSON
