"""Finds names by themselves: first name and surname together, ``Smith, John``, names before an age."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import name_signs as signs
from tenancy.redaction import words
from tenancy.redaction.labelled import Found
from tenancy.redaction.name_runs import run_from


def find(text: str, cased: bool) -> Iterator[Found]:
    """First name and surname side by side, or a first name that is nothing else."""
    tokens = list(signs.WORD.finditer(text))
    for index, token in enumerate(tokens):
        word = token.group()
        if len(word) < 2 or not words.is_first_name(word) or words.is_function_word(word) or words.is_clinical(word):
            continue
        if text[token.start() - 1 : token.start()] in "-/" and token.start() > 0:
            continue
        capital = cased and word[0].isupper()
        if cased and word.isupper() and len(word) <= 4:
            continue
        follower = _follower(text, tokens, index)
        if follower is not None:
            surname = follower.group()
            if words.is_eponym(word) and words.is_eponym(surname):
                continue
            both_capital = capital and surname[0].isupper() and not (surname.isupper() and len(surname) < 4)
            if both_capital and not surname.isupper() and _are_a_pair(text, token, follower):
                yield token.start(), run_from(text, follower, cased), T.PERSON
                continue
            named = words.is_name(word)
            if both_capital and (named or (words.is_name(surname) and not words.is_ordinary(word))):
                good = words.is_surname(surname) or not words.is_ordinary(surname)
            else:
                good = (
                    named
                    and not words.is_place(f"{word} {surname}")
                    and (
                        words.is_name(surname)
                        or (words.is_surname(surname) and words.zipf(surname) < 4.0)
                        or (words.zipf(surname) <= 1.5 and not words.is_ordinary(surname) and len(surname) > 3)
                    )
                )
            if (
                not good
                and words.is_sure_first_name(word)
                and words.is_surname(surname)
                and not words.is_clinical(surname)
            ):
                good = (
                    both_capital
                    or re.match(r"\s{0,2}(?:[,(.;:]|$)", text[follower.end() : follower.end() + 4]) is not None
                )
                if good and not signs.EPONYM_AFTER.match(text, follower.end()):
                    yield token.start(), follower.end(), T.PERSON
                    continue
            common = words.first_name_share(word) >= 0.02 and words.surname_share(surname) >= 0.01
            good = good or (common and words.is_name(surname) and not words.is_eponym(surname))
            if (
                good
                and not words.is_function_word(surname)
                and not words.is_clinical(surname)
                and not signs.EPONYM_AFTER.match(text, follower.end())
            ):
                yield token.start(), run_from(text, follower, cased), T.PERSON
                continue
        alone = words.is_sure_first_name(word) and not words.is_eponym(word)
        alone = alone or (capital and _is_capital_amid_a_sentence(text, token))
        aged = signs.AGE_AHEAD.match(text, token.end()) is not None
        clear = capital or aged or (not words.is_place(word) and words.name_likeness(word) > -6.0)
        if alone and clear and not signs.EPONYM_AFTER.match(text, token.end()):
            initial = signs.LAST_INITIAL.match(text, token.end())
            yield token.start(), initial.end() if initial else token.end(), T.PERSON
    yield from _subjects(text, cased)
    yield from _before_ages(text)
    yield from _last_first(text)


def _is_capital_amid_a_sentence(text: str, token: re.Match[str]) -> bool:
    """Whether a first name that is a word too has a capital where a word would have none: ``says Hank fell``."""
    word, before = token.group(), text[: token.start()]
    if word.isupper() or words.first_name_share(word) < 0.002 or words.is_eponym(word) or words.is_large_region(word):
        return False
    following = signs.WORD.match(text, token.end() + 1)
    amid = re.search(r"[a-z,] $", before) is not None and (following is None or following.group()[0].islower())
    return amid and word.lower() not in signs.MONTHS and not words.is_place(word)


def _are_a_pair(text: str, first: re.Match[str], last: re.Match[str]) -> bool:
    """Whether two capitalised words are a first name and a surname, be they words too: ``Ferdinand White``."""
    given, surname = first.group(), last.group()
    if words.is_clinical(surname) or words.is_place(f"{given} {surname}"):
        return False
    if words.is_eponym(surname) and signs.EPONYM_AFTER.match(text, last.end()):
        return False
    known = words.first_name_share(given) >= 0.002 and words.name_likeness(given) > -7.2
    if words.is_function_word(surname):
        return known and words.surname_share(surname) >= 0.02
    return known and (words.is_surname(surname) or words.is_strange(surname))


def _subjects(text: str, cased: bool) -> Iterator[Found]:
    """A name that begins a sentence and does what people do: ``Aleks came in``."""
    for match in signs.SUBJECT.finditer(text):
        word = match["name"]
        if words.is_function_word(word) or words.is_clinical(word) or words.is_eponym(word):
            continue
        if words.is_first_name(word) or (cased and not words.is_dictionary_word(word) and words.zipf(word) < 4.2):
            yield match.start("name"), match.end("name"), T.PERSON
    for match in signs.OWNER.finditer(text):
        word = match["name"]
        named = words.is_surname(word) or words.is_first_name(word)
        if cased and named and not any(is_other(word) for is_other in (words.is_eponym, words.is_ordinary)):
            yield match.start("name"), match.end("name"), T.PERSON
    for match in signs.OWNER_LOWER.finditer(text):
        word = match["name"]
        if words.first_name_share(word) >= 0.02 and words.is_name(word) and not words.is_eponym(word):
            yield match.start("name"), match.end("name"), T.PERSON
    for match in signs.SUBJECT_IS.finditer(text):
        word = match["name"]
        if words.is_function_word(word) or words.is_clinical(word) or words.is_eponym(word):
            continue
        if words.first_name_share(word) >= 0.02:
            yield match.start("name"), match.end("name"), T.PERSON


def _before_ages(text: str) -> Iterator[Found]:
    """A capitalised surname before an age and a sex, or after a room: ``Wall, 81M``, ``bed 12 Wall``."""
    for pattern in (signs.BEFORE_AGE, signs.AFTER_ROOM):
        for match in pattern.finditer(text):
            word = match["name"]
            if words.is_medical(word) or words.is_eponym(word) or signs.EPONYM_AFTER.match(text, match.end("name")):
                continue
            known = max(words.surname_share(word), words.first_name_share(word))
            if known >= 0.02 if words.is_function_word(word) else known > 0 or words.is_strange(word):
                yield match.start("name"), match.end("name"), T.PERSON

    for match in signs.INITIAL_LAST.finditer(text):
        word = match["name"]
        known = words.is_surname(word) or words.is_strange(word)
        known = known and not words.is_medical(word) and not words.is_function_word(word)
        if known and not signs.EPONYM_AFTER.match(text, match.end()):
            yield match.start(), match.end(), T.PERSON
    for match in signs.BEFORE_WEEKS.finditer(text):
        word = match["name"]
        if words.first_name_share(word) >= 0.002 and not words.is_clinical(word) and not words.is_eponym(word):
            yield match.start("name"), match.end("name"), T.PERSON
    for match in signs.BEFORE_ROOM.finditer(text):
        word = match["name"]
        if words.is_medical(word) or words.is_eponym(word) or words.is_function_word(word):
            continue
        if words.is_name(word) or (word[0].isupper() and not word.isupper() and not words.is_ordinary(word)):
            yield match.start("name"), match.end("name"), T.PERSON
    for match in signs.LAST_INITIALED.finditer(text):
        word = match["name"].partition(",")[0]
        known = words.is_surname(word) or words.is_strange(word)
        if known and not words.is_medical(word) and not words.is_function_word(word):
            yield match.start("name"), match.end("name"), T.PERSON
    for match in signs.INITIALS_AGED.finditer(text):
        letters = match["name"].replace(".", "").lower()
        if letters not in signs.NOT_INITIALS and not words.is_clinical(letters):
            yield match.start("name"), match.end("name"), T.PERSON


def _last_first(text: str) -> Iterator[Found]:
    """``Smith, John`` and, before an age or a number, ``Smith John``."""
    for match in signs.LAST_FIRST.finditer(text):
        last, first = match["last"], match["first"]
        if any(words.is_function_word(word) or words.is_clinical(word) for word in (last, first)):
            continue
        capital = last[0].isupper() and first[0].isupper()
        ahead = signs.AGE_AHEAD.match(text, match.end()) is not None
        surname = words.is_name(last) or (
            words.is_surname(last) and (ahead or (capital and not words.is_ordinary(last)))
        )
        given = words.is_first_name(first) and (words.is_name(first) or capital)
        surname = surname or (capital and words.is_sure_first_name(first) and not words.is_eponym(last))
        surname = surname or (capital and words.surname_share(last) >= 0.005 and words.first_name_share(first) >= 0.01)
        if (
            ahead
            and capital
            and not any(words.is_dictionary_word(word) or words.is_place(word) for word in (last, first))
        ) or (surname and (given or (ahead and not words.is_ordinary(first) and not words.is_large_region(first)))):
            yield match.start(), match.end(), T.PERSON
    for match in signs.LAST_FIRST_BARE.finditer(text):
        last, first = match["last"], match["first"]
        if (
            (
                words.is_first_name(first)
                and words.is_surname(last)
                and not words.is_clinical(last)
                and not words.is_function_word(last)
            )
            and signs.AGE_AHEAD.match(text, match.end())
            and (words.is_name(first) or words.is_name(last))
        ):
            yield match.start(), match.end(), T.PERSON


def _follower(text: str, tokens: list[re.Match[str]], index: int) -> re.Match[str] | None:
    """The word after a first name, past a middle initial or a particle."""
    for ahead in range(index + 1, min(index + 4, len(tokens))):
        between = text[tokens[ahead - 1].end() : tokens[ahead].start()]
        word = tokens[ahead].group()
        if not re.fullmatch(r"\.?[ \t]{1,2}|\.", between):
            return None
        if len(word) > 1 and word.lower() not in signs.PARTICLES:
            return tokens[ahead]
    return None
