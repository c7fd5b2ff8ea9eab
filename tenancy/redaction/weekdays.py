"""Knows weekdays beside dates: ``Tues 3/4``, ``Thursday the 18th``. They go with the date."""

from __future__ import annotations

import re

WEEKDAY = (
    r"(?:mon(?:day)?|tue(?:s(?:day)?)?|wed(?:s|nesday)?|thu(?:rs?(?:day)?)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)"
)
BEFORE = re.compile(rf"(?<![\w/-])(?:{WEEKDAY}\.?,?\s(?:the\s)?|the\s)", re.IGNORECASE)
AFTER = re.compile(r",?\s?\(?(?:mon|tues|wednes|thurs|fri|satur|sun)day\b", re.IGNORECASE)


def without_weekday(date: str) -> str:
    """``date`` without a weekday and an article at its ends."""
    return AFTER.sub("", date[begun.end() :] if (begun := BEFORE.match(date)) else date)
