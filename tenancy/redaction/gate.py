"""Joins detectors into a gate: what any one of them gives is replaced, again and again until none gives anything.

A detector may itself be several of which one overrules others: see :mod:`tenancy.redaction.second_opinion`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from pydantic import ValidationError

from schemas.base.redaction import IdentifierType, RedactionReport
from schemas.bus.content import ChatMessage
from tenancy.errors import Refused
from tenancy.redaction.placeholders import PLACEHOLDER, Placeholders, placeholders_in
from tenancy.redaction.port import Detector, JudgingStopped, RedactedMessages, RedactedText, Span
from tenancy.redaction.reading import read
from tenancy.redaction.shifted_dates import DateShift
from tenancy.redaction.terms import NAME as TERMS
from tenancy.redaction.terms import NO_TERMS, TenantTerms
from tenancy.redaction.token_features import tokens

MOST_CHARACTERS = 1_000_000
MOST_WORDS = 65_536
"""Words and marks of a conversation that is judged: a processor's time goes with them, 80 to 160 microseconds
each. The longest inline content holds some 40,000 of prose, and 200,000 where each character is one."""

MOST_ROUNDS = 6
"""A placeholder changes what stands around it, and a detector may see more then. The second round mostly ends it."""

_FINENESS = {IdentifierType.ID: 0, IdentifierType.PERSON: 1}
_STAND_IN = "[ID-1]"
"""What detectors see for every placeholder, so that a redacted text reads as it did in the last round."""


class UnionGate:
    """A gate of several detectors. The union of their spans is replaced; overlapping spans become one."""

    def __init__(self, name: str, version: str, detectors: Sequence[Detector]) -> None:
        self.name, self.version = name, version
        self._detectors = tuple(detectors)

    def scan(self, text: str, *, terms: TenantTerms | None = None) -> tuple[Span, ...]:
        """See :class:`~tenancy.redaction.port.RedactionGate`."""
        if len(text) > MOST_CHARACTERS:
            raise Refused("text-too-long", f"refused: a text is longer than {MOST_CHARACTERS} characters; split it")
        found: list[Span] = []
        for _ in range(MOST_ROUNDS):
            more = self._round(text, found, terms or NO_TERMS)
            if not more:
                break
            found = _merged([*found, *more])
        return tuple(found)

    def redact_text(
        self, text: str, *, terms: TenantTerms | None = None, dates: DateShift | None = None
    ) -> RedactedText:
        """See :class:`~tenancy.redaction.port.RedactionGate`."""
        spans = self.scan(text, terms=terms)
        placeholders = _placeholders([(text, spans)], dates)
        return RedactedText(_replaced(text, spans, placeholders), spans, self._report([spans], terms))

    def redact(
        self, messages: Sequence[ChatMessage], *, terms: TenantTerms | None = None, dates: DateShift | None = None
    ) -> RedactedMessages:
        """See :class:`~tenancy.redaction.port.RedactionGate`."""
        spans = tuple(self.scan(message.content, terms=terms) for message in messages)
        placeholders = _placeholders([(one.content, found) for one, found in zip(messages, spans, strict=True)], dates)
        texts = [
            _replaced(message.content, found, placeholders) for message, found in zip(messages, spans, strict=True)
        ]
        try:
            redacted = tuple(
                ChatMessage(role=message.role, content=text) for message, text in zip(messages, texts, strict=True)
            )
        except ValidationError:
            raise Refused("text-too-long", "refused: with its placeholders a message is too long; split it") from None
        return RedactedMessages(redacted, spans, self._report(spans, terms))

    def judge(
        self, messages: Sequence[ChatMessage], should_stop: Callable[[], bool], *, terms: TenantTerms | None = None
    ) -> RedactionReport:
        """See :class:`~tenancy.redaction.port.RedactionGate`."""
        if sum(len(tokens(read(message.content).text)) for message in messages) > MOST_WORDS:
            why = f"refused: a text of more than {MOST_WORDS} words and marks is not judged; split it"
            raise Refused("text-too-long", why)
        found = []
        for message in messages:
            if should_stop():
                raise JudgingStopped
            found.append(_merged(self._round(message.content, (), terms or NO_TERMS)))
        return self._report(found, terms)

    def _round(self, text: str, found: Sequence[Span], terms: TenantTerms) -> list[Span]:
        """What is found once ``found`` is replaced, in the characters of ``text``."""
        masked, starts, kept_out = _masked(text, found)
        reading = read(masked)
        more = []
        for detector in (*self._detectors, terms.detector):
            for span in detector.find(reading.text):
                for start, end in _outside(*reading.original(span.start, span.end), kept_out):
                    trimmed = _trimmed(masked, start, end)
                    if trimmed is None or (span.detector != TERMS and terms.allows(masked[slice(*trimmed)])):
                        continue
                    first, last = trimmed
                    more.append(Span(starts[first], starts[last - 1] + 1, span.type, span.detector))
        return more

    def _report(self, spans: Iterable[Sequence[Span]], terms: TenantTerms | None) -> RedactionReport:
        counts = Counter(span.type for found in spans for span in found)
        return RedactionReport(
            gate=self.name,
            version=f"{self.version}+{terms.version}" if terms and terms.version else self.version,
            verdict="redacted" if counts else "clean",
            counts=dict(sorted(counts.items())),
        )


def _masked(text: str, found: Sequence[Span]) -> tuple[str, list[int], list[tuple[int, int]]]:
    """``text`` with a stand-in for each span and placeholder; where its characters stood; where the stand-ins are."""
    placeholders = [match.span() for match in PLACEHOLDER.finditer(text)]
    parts: list[str] = []
    starts: list[int] = []
    stand_ins: list[tuple[int, int]] = []
    at = 0
    for start, end in sorted([*((span.start, span.end) for span in found), *placeholders]):
        parts += [text[at:start], _STAND_IN]
        starts.extend(range(at, start))
        stand_ins.append((len(starts), len(starts) + len(_STAND_IN)))
        starts.extend([start] * len(_STAND_IN))
        at = end
    parts.append(text[at:])
    starts.extend(range(at, len(text)))
    return "".join(parts), starts, stand_ins


def _outside(start: int, end: int, kept_out: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts of a span that are in no placeholder. Of ``kept_out``, which is in order, what it meets is read."""
    parts = [(start, end)]
    first_met = bisect_right(kept_out, start, key=lambda span: span[1])
    for low, high in kept_out[first_met : bisect_left(kept_out, end, key=lambda span: span[0])]:
        parts = [
            part
            for first, last in parts
            for part in ([(first, last)] if high <= first or low >= last else [(first, low), (high, last)])
            if part[0] < part[1]
        ]
    return parts


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The span from its first to its last letter or digit; None where it has neither."""
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and not text[end - 1].isalnum():
        end -= 1
    return (start, end) if start < end else None


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Spans in order without overlaps: the longest of those that overlap gives the type, of equals the finer one."""
    merged: list[Span] = []
    best = (0, 0)
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        weight = (span.end - span.start, _FINENESS.get(span.type, 2))
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            kind = span.type if weight > best else last.type
            best = max(best, weight)
            merged[-1] = Span(last.start, max(last.end, span.end), kind, _joined(last.detector, span.detector))
        else:
            merged.append(span)
            best = weight
    return merged


def _joined(first: str, second: str) -> str:
    return "+".join(dict.fromkeys([*first.split("+"), *second.split("+")]))


def _placeholders(texts: Sequence[tuple[str, Sequence[Span]]], dates: DateShift | None) -> Placeholders:
    """Those of one conversation, for what ``dates`` makes of all its dates together."""
    taken = frozenset(name for text, _ in texts for name in placeholders_in(text))
    if dates is None:
        return Placeholders(taken=taken)
    values = [
        text[span.start : span.end] for text, spans in texts for span in spans if span.type is IdentifierType.DATE
    ]
    return Placeholders(dates.shifted(values), taken)


def _replaced(text: str, spans: Sequence[Span], placeholders: Placeholders) -> str:
    parts, at = [], 0
    for span in spans:
        parts += [text[at : span.start], placeholders.of(text[span.start : span.end], span.type)]
        at = span.end
    return "".join([*parts, text[at:]])
