"""Describes each word of a text to the token model: form, letters, what the word lists say of it."""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left

from tenancy.redaction import words

BUCKETS = 1 << 16
TOKEN = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)?|[^\w\s]|_")
_MOST_LETTERS = 14
"""Of a longer word only its beginning is taken apart."""

Memory = dict[str, tuple[int, ...]]
"""The buckets of the words of one text that were described. It is not to outlive the text."""


def tokens(text: str) -> list[tuple[int, int]]:
    """Where the words, numbers and marks of ``text`` are."""
    return [match.span() for match in TOKEN.finditer(text)]


def features(text: str, spans: list[tuple[int, int]], memory: Memory | None = None) -> list[list[int]]:
    """The buckets that each token falls into, of itself and of how the whole text is written."""
    memory = {} if memory is None else memory
    found = [text[start:end] for start, end in spans]
    lower, upper = any(map(str.islower, found)), any(word.isupper() and len(word) > 1 for word in found)
    cased = f"cased {lower}{upper or any(word[0].isupper() for word in found)}"
    described = []
    for index, word in enumerate(found):
        if word not in memory:
            memory[word] = tuple(map(_bucket, _own(word, _kind(word) if word[0].isalpha() else "")))
        names = [cased, f"{cased} {_case(word)}"]
        if index > 0 and spans[index - 1][1] == spans[index][0]:
            names.append("glued")
        if index + 1 < len(found) and spans[index + 1][0] == spans[index][1]:
            names.append("glue")
        described.append([*memory[word], *map(_bucket, names)])
    return described


def _bucket(name: str) -> int:
    return zlib.crc32(name.encode()) % BUCKETS


def _own(word: str, kind: str) -> list[str]:
    names = ["always", f"shape {_shape(word)}"]
    if not word[0].isalpha():
        return [*names, f"unit {_unit(word)}", f"size {_size(word)}"] if word[0].isdigit() else [*names, f"mark {word}"]
    key = words.plain(word)
    common = words.zipf(key)
    names += [f"common {int(common)}", f"kind {kind}", f"kind {kind} {_case(word)}", f"case {_case(word)}"]
    names += [f"end {key[-2:]}", f"begin {key[:2]}", f"long {min(len(key), _MOST_LETTERS)}"]
    # Only ordinary words are known by themselves: the model should learn no names.
    if kind in ("function", "ordinary", "clinical") or common >= 4.5:
        names.append(f"word {key}")
    if kind == "function" or common >= 4.5:
        return names
    letters = f"^{key[:_MOST_LETTERS]}$"
    names += [f"letters {letters[at : at + 3]}" for at in range(len(letters) - 2)]
    names += [
        f"first {_grade(words.first_name_share(word))}",
        f"last {_grade(words.surname_share(word))}",
        f"like {max(-10, min(-4, round(words.name_likeness(word) * 2) / 2))}",
        f"dictionary {words.is_dictionary_word(word)} {kind}",
        f"medical {words.is_medical(word)}",
        f"place {words.is_place(word)} {_case(word)}",
    ]
    return names


def _grade(share: float) -> int:
    """How many have a name: 0 for nobody, 5 for many."""
    return bisect_left((0, 0.0005, 0.003, 0.02, 0.1), share)


def _case(word: str) -> str:
    return "X" if word.isupper() else "Xx" if word[0].isupper() else "x"


def _unit(word: str) -> str:
    """The letters after a number, as in ``9mo``."""
    return word.lstrip("0123456789")[:6].lower()


def _size(word: str) -> str:
    """What a number may be: a month, a day, an age, a year, or neither."""
    if not word.isdecimal() or len(word) > 4:
        return "none"
    number = int(word)
    bounds = ((12, "month"), (31, "day"), (89, "age"), (115, "great age"), (1899, "none"), (2099, "year"))
    return next((name for most, name in bounds if number <= most), "none")


def _kind(word: str) -> str:
    if words.is_function_word(word):
        return "function"
    if words.is_clinical(word):
        return "clinical"
    if words.is_eponym(word):
        return "eponym"
    if words.is_sure_first_name(word):
        return "first"
    if words.is_name(word):
        return "name"
    if words.is_strange(word):
        return "slip" if words.is_slip(word) else "strange"
    return "place" if words.is_place(word) and not words.is_dictionary_word(word) else "ordinary"


def _shape(word: str) -> str:
    """``Smith`` Xx, ``A12B`` X9X, ``20231`` 9{5}: runs of digits keep their length."""
    shape = re.sub(r"[^\W\d_]", lambda match: "X" if match.group().isupper() else "x", word[:60])
    shape = re.sub(r"x+", "x", re.sub(r"X{2,}", "XX", shape))
    return re.sub(r"\d+", lambda match: f"9{{{len(match.group())}}}", shape)
