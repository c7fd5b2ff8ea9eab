"""Describes each word of a text to the token model: form, ends, neighbours, what the word lists say of it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

from tenancy.redaction import words

BUCKETS = 1 << 15
TOKEN = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)?|[^\w\s]|_")
_REACH = (-3, -2, -1, 1, 2)


def tokens(text: str) -> list[tuple[int, int]]:
    """Where the words, numbers and marks of ``text`` are."""
    return [match.span() for match in TOKEN.finditer(text)]


def features(text: str, spans: list[tuple[int, int]]) -> Iterator[list[int]]:
    """The buckets that each token falls into."""
    found = [text[start:end] for start, end in spans]
    kinds = [_kind(word) if word[0].isalpha() else "" for word in found]
    own = [_own(word, kind) for word, kind in zip(found, kinds, strict=True)]
    context = [_context(word, kind) for word, kind in zip(found, kinds, strict=True)]
    cased = any(map(str.islower, text)) and any(map(str.isupper, text))
    glued = [index > 0 and spans[index - 1][1] == spans[index][0] for index in range(len(spans))]
    for index in range(len(found)):
        names = [*own[index], f"glued {glued[index]}"]
        if found[index][0].isalpha():
            what = f"{own[index][-1]} {cased}"
            before = context[index - 1][0] if index else "edge"
            after = context[index + 1][0] if index + 1 < len(found) else "edge"
            names += [what, f"{what} after {before}", f"{what} before {after}"]
        for step in _REACH:
            near = index + step
            names.extend(f"{step} {name}" for name in (context[near] if 0 <= near < len(found) else ("edge",)))
        if 0 < index < len(found) - 1:
            names.append(f"both {context[index - 1][0]} {context[index + 1][0]}")
        yield [zlib.crc32(name.encode()) % BUCKETS for name in names]


def _own(word: str, kind: str) -> list[str]:
    shape = _shape(word)
    key = words.plain(word)
    names = ["always", f"shape {shape}"]
    if not word[0].isalpha():
        return names if word[0].isdigit() else [*names, f"mark {word}"]
    common = int(words.zipf(key))
    names += [
        f"end {key[-3:]}",
        f"end {key[-2:]}",
        f"begin {key[:2]}",
        f"common {common}",
        f"kind {kind}",
    ]
    if words.is_function_word(word) or common >= 5:
        names.append(f"word {key}")
    return [*names, f"kind {kind} {_case(word)}"]


def _case(word: str) -> str:
    return "X" if word.isupper() else "Xx" if word[0].isupper() else "x"


def _context(word: str, kind: str) -> tuple[str, ...]:
    if not word[0].isalpha():
        return (f"{_shape(word)}",) if word[0].isdigit() else (f"mark {word}",)
    key = words.plain(word)
    # A neighbour counts by itself only where it is an ordinary word: the model should learn no names.
    return (
        f"word {key}" if kind in ("function", "ordinary", "clinical") else f"kind {kind}",
        f"kind {kind} {_case(word)}",
    )


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
    shape = re.sub(r"[^\W\d_]", lambda match: "X" if match.group().isupper() else "x", word)
    shape = re.sub(r"x+", "x", re.sub(r"X{2,}", "XX", shape))
    return re.sub(r"\d+", lambda match: f"9{{{len(match.group())}}}", shape)
