"""Moves the dates of one conversation by one secret number of days, so that their order and distances stay.

``[DATE-1 2143-05-02]``: into the years 2100 to 2199, as MIMIC does, so that no date of a text can pass for a shifted
one and a later gate can tell. A date without a year takes the one nearest to the date before it. What names no day has
a plain placeholder, and so has what lies more than 89 years before the last date, which would tell an age over 89.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from tenancy.redaction.weekdays import without_weekday

_FIRST, _LAST = date(2100, 1, 1), date(2199, 12, 31)
_LONGEST = timedelta(days=89 * 365)
_YEAR_UNKNOWN = 2000
"""Taken where no date of the conversation has a year: only distances are seen afterwards."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NUMBERS = re.compile(r"(?P<a>\d{1,4})\s?[-/.\\_]\s?(?P<b>\d{1,2})(?:\s?[-/.\\_]\s?(?P<c>\d{2,4}))?(?![-/\d])")
_COMPACT = re.compile(r"(?P<year>(?:19|20)\d\d)(?P<month>\d\d)(?P<day>\d\d)(?:\d{4,6})?$")
_MONTH_DAY = re.compile(
    r"(?P<month>[a-z]{3,9})\.?[\s,-]{0,3}(?:the\s)?(?P<day>\d{1,2})(?:st|nd|rd|th)?(?:[\s,-]{1,3}(?:of\s)?'?(?P<year>\d{4}|\d\d))?"
    r"(?=$|[\s,T])",
    re.IGNORECASE,
)
_DAY_MONTH = re.compile(
    r"(?:the\s)?(?P<day>\d{1,2})(?:st|nd|rd|th)?[\s-]{0,2}(?:day\s)?(?:of\s)?(?P<month>[a-z]{3,9})\.?"
    r"(?:[\s,-]{0,3}'?(?P<year>\d{4}|\d\d))?(?=$|[\s,T])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class DateShift:
    """How far one conversation's dates move: drawn from ``seed``, a secret of 16 bytes or more that is its alone.

    The same seed and texts give the same dates, so that redacting again is the same. Who has the seed has the dates.
    """

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) < 16:
            raise ValueError("a seed has 16 bytes or more")

    def shifted(self, values: Sequence[str]) -> dict[str, date]:
        """The new date of each value, in the order in which they stand in the conversation, that names a day."""
        days = _resolved(values)
        if not days:
            return {}
        last = max(days.values())
        near = {value: day for value, day in days.items() if last - day <= _LONGEST}
        first = min(near.values())
        room = ((_LAST - _FIRST) - (last - first)).days + 1
        start = _FIRST + timedelta(days=int.from_bytes(hashlib.sha256(self.seed).digest()[:8]) % room)
        return {value: start + (day - first) for value, day in near.items()}


def _resolved(values: Sequence[str]) -> dict[str, date]:
    """The day that each value names. A year that is not said is that of the nearest day to the one before."""
    read = [(value, parts) for value in values if (parts := _parts(value)) is not None]
    known = next((year for _, (year, _, _) in read if year is not None), _YEAR_UNKNOWN)
    before: date | None = None
    days: dict[str, date] = {}
    for value, (year, month, day) in read:
        if year is None and value in days:
            before = days[value]
            continue
        years = (
            [year]
            if year is not None
            else [near + step for near in [before.year if before else known] for step in (0, -1, 1)]
        )
        candidates = [made for candidate in years if (made := _day(candidate, month, day)) is not None]
        if candidates:
            near_to = before or candidates[0]
            before = days[value] = min(candidates, key=lambda made: abs(made - near_to))
    return days


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _parts(value: str) -> tuple[int | None, int, int] | None:
    """Year, month and day of a date as people write it, American order where both are possible; None for no one day."""
    value = without_weekday(value.strip())
    if match := _COMPACT.match(value):
        return int(match["year"]), int(match["month"]), int(match["day"])
    if match := _NUMBERS.match(value):
        return _of_numbers(match["a"], match["b"], match["c"])
    for pattern in (_MONTH_DAY, _DAY_MONTH):
        match = pattern.match(value)
        month = match["month"].lower()[:3] if match else ""
        if match and month in _MONTHS and _rest_is_a_time(value[match.end() :]):
            return _full_year(match["year"]), _MONTHS.index(month) + 1, int(match["day"])
    return None


def _of_numbers(a: str, b: str, c: str | None) -> tuple[int | None, int, int] | None:
    if len(a) == 4:
        return (int(a), int(b), int(c)) if c else None
    if len(b) == 4 or len(a) == 3:
        return None
    month, day = (int(b), int(a)) if int(a) > 12 else (int(a), int(b))
    return _full_year(c), month, day


def _rest_is_a_time(rest: str) -> bool:
    return re.fullmatch(r"(?:[\sT,]{1,2}(?:at\s)?\d{1,2}:\d\d.*)?", rest) is not None


def _full_year(year: str | None) -> int | None:
    """Two digits are of the years 1936 to 2035."""
    if year is None:
        return None
    return int(year) if len(year) == 4 else int(year) + (2000 if int(year) <= 35 else 1900)
