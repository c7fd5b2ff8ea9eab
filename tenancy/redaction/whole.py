"""Widens what was found to the whole of it: a name's generation, a date's weekday, the house before a street."""

from __future__ import annotations

import re
from dataclasses import replace

from schemas.base.redaction import SAFE_HARBOR
from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import words
from tenancy.redaction.partial_places import TRADES
from tenancy.redaction.port import Span
from tenancy.redaction.weekdays import AFTER, BEFORE

_GENERATION = re.compile(
    r",?\s(?:(?i:jr|sr)(?!\w)|III?(?=\s[a-z])|(?:II|III|IV)(?=\s?[,.;:)]|\s?$|\s(?:is|has|was|who)\b))", re.MULTILINE
)
_BEFORE_DATE = re.compile(rf"{BEFORE.pattern}\Z", re.IGNORECASE)
_HOUSE = (
    r"(?:House|Court|Lodge|Mansions?|Buildings?|Towers?|Cottages?|Hall|Grange|Barn|Farm|Villas?|Manor|Bungalow|Heights|"
    r"Gardens|Mews|Vicarage|Rectory|Block|Flats|Apartments|Place|Point)"
)
_BEFORE_STREET = re.compile(
    r"(?<!\w)(?:(?:(?i:flat|unit|apt|apartment|suite|ste|shop|plot|house|room|floor|block|lot|building|bldg|villa|cabin|tower|gali|sector|blk|apto?)"
    r"\.?\s(?:no\.?\s|#)?\d{1,4}[a-zA-Z]?|(?i:top|ground|basement|upper|lower|garden|first|second|1st|2nd)\s(?:[Ff]loor\s)?[Ff]lat|"
    rf"(?:[A-Z][\w'-]{{1,20}}\s){{1,3}}{_HOUSE}),?\s)+\Z|(?<!\w)(?i:flat|unit|plot|house|lot|no\.?)\s\Z"
)
_HOUSE_NUMBER = re.compile(
    r"(?:\A|[,;:(\n]\s?|(?<!\w)(?i:at|to|from|is|address|home|visit|visited|lives|stays|near|of|for|re)\s)"
    r"(?P<number>\d{1,5}(?:/\d{1,3})?(?:\s[NSEW]\.?)?,?\s)\Z|"
    r"(?<![\w./-])(?P<house>(?:\d{1,3}[a-d]|\d{1,2}-\d{1,3}-\d{1,3}),?\s)\Z"
)
"""Before a street that only its name gave away: ``3 Páirc an Átha``, ``19a Sycamore``."""
_NUMBER_BEHIND = re.compile(
    r"\s\d{1,4}\s?[A-Za-z]?(?:/\d{1,3})?(?=\s?[,;:)]|\.(?!\d)|\s?$)|(?:\s\d{1,2})?\s?#\s?\d{1,4}(?:-\d{1,4}|[A-Z])?(?![\w/%])"
)
"""Behind it: ``Prinsengracht 263``, ``Clementi Ave 3 #08-112``."""
_NAMED_THE = re.compile(r"(?:(?<=[a-z,] )|\A)The \Z")
_PLACE_OF = re.compile(r"(?<!\w)(?:at|from|to|by|near|under|with|for|in) (?:the )?\Z", re.IGNORECASE)
_OWN_NAME = re.compile(
    r"'s(?=\s?[.,;:)?!]|\s?$|\s(?:is|was|has|with|and|on|for|after|today|yesterday|last)\b)", re.MULTILINE
)
"""Of hospitals that are called so: ``biopsy at Addenbrooke's was benign``."""
_HEAD = re.compile(
    r"(?<![\w-])(?:HMP|HMYOI|PHC|CHC|RAF|RNAS|Fort|Camp|Port|Mount|Lake|Cape|Glen|Isle of|"
    r"Upper|Lower|Great|Little|Nether)\s\Z"
)
_FIRM = re.compile(
    rf"(?:\s&\s(?P<other>[A-Z][a-z]{{2,20}}))?(?:\s{TRADES}){{1,3}}(?![\w-])|\s&\s(?P<last>[A-Z][a-z]{{2,20}})(?![\w-])|"
    r"(?:(?<=Station)|(?<=Store)|(?<=Plant)|(?<=Depot)|(?<=Precinct)|(?<=Lodge)|(?<=Post))\s#?\d{1,4}(?![\w/%]|\.\d)"
)
"""Behind a firm's name, its trade, its other owner or its number: ``Peavey Corner Drug``, ``Dunmore Slate & Tile``."""
_STREETS = frozenset({T.PLACE, T.ADDRESS})
_FARTHEST = 80
"""So many characters before a span are read."""


def whole(text: str, span: Span) -> Span:
    """``span`` with what belongs to it before and after."""
    near = text[max(0, span.start - _FARTHEST) : span.start]
    if span.type is T.DATE:
        before = _BEFORE_DATE.search(near) if _is_day(text, span) else None
        after = AFTER.match(text, span.end)
    else:
        before = _NAMED_THE.search(near) or (_BEFORE_STREET.search(near) if SAFE_HARBOR[span.type] == "B" else None)
        after = _GENERATION.match(text, span.end) if SAFE_HARBOR[span.type] == "A" else None
        after = after or (_OWN_NAME.match(text, span.end) if _PLACE_OF.search(near) else None)
        if before is None and after is None and SAFE_HARBOR[span.type] in "AB" and text[span.start].isupper():
            before, after = _HEAD.search(near), _firm(text, span.end)
    start = span.start - len(before.group()) if before else span.start
    end = after.end() if after else span.end
    is_street = span.type in _STREETS and not words.is_place(text[span.start : span.end])
    if is_street and (behind := _NUMBER_BEHIND.match(text, end)):
        end = behind.end()
    if before is None and SAFE_HARBOR[span.type] in "AB":
        house = _HOUSE_NUMBER.search(text, max(0, start - _FARTHEST), start)
        if house and (house["house"] or is_street):
            start = house.start(house.lastgroup or 0)
    return replace(span, start=start, end=end)


def _firm(text: str, end: int) -> re.Match[str] | None:
    more = _FIRM.match(text, end)
    other = (more["other"] or more["last"]) if more else None
    return None if other and (words.is_medical(other) or words.is_function_word(other)) else more


def _is_day(text: str, span: Span) -> bool:
    """Whether a date names a day: no holiday and no season, before which a weekday stands for itself."""
    return any(map(str.isdigit, text[span.start : span.end]))
