"""Finds what people dictate: days in words, numbers digit by digit, names letter by letter.

``the ninth of May``, ``June twenty-second``, ``two two nine four one seven``, ``S-M-I-T-H``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction.dates import MONTH_FULL
from tenancy.redaction.labelled import Found
from tenancy.redaction.weekdays import WEEKDAY

_ONES = r"(?:one|two|three|four|five|six|seven|eight|nine)"
_TEENS = r"(?:ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen)"
_NUMBER = rf"(?:(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[\s-]{_ONES})?|{_TEENS}|(?:oh\s)?{_ONES})"
_EARLY = r"first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth"
_LATE = (
    r"thirteenth|fourteenth|fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|twentieth|thirtieth|thirty[\s-]first|"
    r"twenty[\s-](?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth)"
)
"""Days after which seldom a rib, a nerve or a finger is called."""
_DAY = rf"(?:{_LATE}|{_EARLY})"
_YEAR = rf"(?:,?\s(?:(?:19|20)\d\d|(?:nineteen|twenty)[\s-]{_NUMBER}|two\sthousand(?:(?:\sand)?\s{_NUMBER})?)(?!\w))?"
_MONTH = rf"(?:{MONTH_FULL}|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)"
_SURE_MONTH = rf"(?!march|may)(?:{MONTH_FULL})"
_I = re.IGNORECASE
_DAYS = (
    re.compile(rf"(?<!\w)(?:{WEEKDAY},?\s)?(?:the\s)?{_DAY}(?:\sday)?\sof\s{_MONTH}(?!\w){_YEAR}", _I),
    re.compile(rf"(?<!\w){_SURE_MONTH},?\s(?:the\s)?(?:{_DAY}|{_NUMBER})(?!\w|[\s-](?:mg|line|dose)){_YEAR}", _I),
)
_DIGIT = r"(?:oh|zero|one|two|three|four|five|six|seven|eight|nine|double|triple)"
_DIGITS = re.compile(rf"(?<![\w-]){_DIGIT}(?:[\s,-]{{1,2}}{_DIGIT}){{4,30}}(?![\w-])", _I)
_LABELLED = re.compile(
    r"(?<!\w)(?:mrn|medical\srecord|chart|account|ssn|social(?:\ssecurity)?|last\sfour(?:\sof\ssocial)?|extension|pager|phone|fax|zip|"
    r"accession|member|policy)(?:\s(?:number|code|is|at|was|ending|in))*\s"
    rf"(?P<number>(?:{_DIGIT}|{_NUMBER})(?:[\s,-]{{1,2}}(?:{_DIGIT}|{_NUMBER})){{1,11}})(?!\w)|"
    r"(?<!\w)(?:mrn|chart|account|phone|fax|accession|number)\s(?P<spaced>(?:[a-z]\s){0,2}\d(?:\s\d){3,15})(?!\w)|"
    rf"(?<!\w)(?:room|bed)\s(?:number\s)?(?P<room>{_NUMBER}(?:\s{_NUMBER}){{0,2}}(?:\s[a-d])?)(?!\w|\s(?:days|hours|weeks|times|or|to))",
    _I,
)
_LETTERS = re.compile(
    r"(?<![\w-])(?!A-B-C)(?:[A-Z](?:-[A-Z]){3,30}|[a-z](?:-[a-z]){4,30})(?![\w-])|"
    r"(?<!\w)(?:spell(?:s|ed|ing)?|spelt|surname|name)(?:\s(?:is|it|as|that))?[\s:,]{1,2}"
    r"(?P<name>(?i:[a-z](?:[ -][a-z]){2,30}))(?!\w)"
)


def find(text: str) -> Iterator[Found]:
    """Every dictated day, number and spelled name of ``text``."""
    for pattern in _DAYS:
        for match in pattern.finditer(text):
            yield *match.span(match.lastgroup or 0), T.DATE
    for pattern in (_DIGITS, _LABELLED):
        for match in pattern.finditer(text):
            yield *match.span(match.lastgroup or 0), T.ID
    for match in _LETTERS.finditer(text):
        yield *match.span(match.lastgroup or 0), T.PERSON
