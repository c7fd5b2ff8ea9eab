"""Tells where a name ends whose beginning is known: its words, particles and initials."""

from __future__ import annotations

import re

from tenancy.redaction import name_signs as signs
from tenancy.redaction import words


def run(
    text: str, at: int, cased: bool, *, first_sure: bool = False, unknown: bool = True, most: int = signs.MOST_WORDS
) -> int:
    """Where the name ends that begins at ``at``; ``at`` where none does.

    ``first_sure``: its first word may be an ordinary word that is a surname too, or one that is in no list.
    ``unknown``: words that are in no list are taken.
    """
    end = place = at
    initial = False
    for index in range(most):
        token = signs.TOKEN.match(text, place)
        if token is None:
            break
        if token["initials"] is not None:
            place = token.end()
            continue
        word = token["word"]
        particle = word.lower() in signs.PARTICLES and _next_capital_or_name(text, token.end())
        single = len(word) == 1 and (word.isupper() or (index > 0 and text[token.end() : token.end() + 2] == ". "))
        if particle and not (index == 0 and word.lower() in ("al", "el", "la", "le", "o", "e", "y", "da", "st")):
            place = token.end()
        elif single and (
            index > 0 or text[token.end() : token.end() + 1] == "." or _next_capital_or_name(text, token.end())
        ):
            place = token.end() + (text[token.end() : token.end() + 1] == ".")
            if index > 0:
                end, initial = place, True
        elif (initial and words.surname_share(word) >= 0.003) or _is_part(
            word, cased, first=end == at, sure=first_sure and index == 0, unknown=unknown, after_name=end > at
        ):
            place = end = token.end()
            initial = False
        else:
            break
        gap = signs.GAP.match(text, place)
        if gap is None:
            break
        place = gap.end()
    return end


def _next_capital_or_name(text: str, at: int) -> bool:
    following = re.compile(r"\.?\s{1,2}([^\W\d_][\w'-]+)").match(text, at)
    return (
        following is not None
        and not words.is_function_word(following[1])
        and (following[1][:1].isupper() or words.is_surname(following[1]))
    )


def _is_part(word: str, cased: bool, *, first: bool, sure: bool, unknown: bool, after_name: bool) -> bool:
    """Whether a word is part of a name where a name is expected."""
    capital = cased and word[0].isupper() and not (word.isupper() and len(word) < 4)
    if len(word) < 2 or words.is_clinical(word):
        return False
    if words.is_function_word(word):
        if words.surname_share(word) >= (0.04 if sure else 0.1) and (sure or after_name):
            return True
        return capital and after_name and not word.isupper() and words.is_surname(word)
    if words.is_name(word):
        return True
    if sure:
        return capital or words.is_surname(word) or not words.is_ordinary(word)
    if words.is_ordinary(word) and not (capital and not words.is_dictionary_word(word) and words.zipf(word) < 4.5):
        return capital and not word.isupper() and words.is_surname(word) and after_name and words.zipf(word) < 5.6
    if not unknown:
        return False
    return capital or (not first and words.zipf(word) < 3.2 and after_name) or (first and words.is_strange(word))
